"""Drives OpenAI's Python SDK for a test: a command a line in, answers out.

A command is {"do": ..., "model": ..., "image": <data URL>, "prompt": ...}. What
it came to is one line, {"text": ...} or {"error": <class>, "message": ...}; a
stream also says {"began": true} when its first text arrives. Where an error is
not one of the SDK's own, its class begins with "foreign ".
"""

import json
import sys

import openai

client = openai.OpenAI()


def say(**answer):
    print(json.dumps(answer), flush=True)


def question(command):
    return {
        "model": command["model"],
        "messages": [{
            "role": "user",
            "content": [
                {"type": "text", "text": command["prompt"]},
                {"type": "image_url", "image_url": {"url": command["image"]}},
            ],
        }],
    }


def whole(command):
    answer = client.chat.completions.create(**question(command))
    return answer.choices[0].message.content


def plain(command):
    """Reads a stream by plain iteration."""
    text = ""
    for chunk in client.chat.completions.create(stream=True, **question(command)):
        if chunk.choices and chunk.choices[0].delta.content:
            if not text:
                say(began=True)
            text += chunk.choices[0].delta.content
    return text


def helper(command):
    """Reads a stream by the SDK's .stream() helper."""
    began = False
    with client.chat.completions.stream(**question(command)) as stream:
        for event in stream:
            if event.type == "content.delta" and event.delta and not began:
                began = True
                say(began=True)
        return stream.get_final_completion().choices[0].message.content


def models(command):
    return "\n".join(model.id for model in client.models.list())


def badkey(command):
    return openai.OpenAI(api_key=client.api_key[:-1] + "~").models.list().data[0].id


ways = {way.__name__: way for way in (whole, plain, helper, models, badkey)}

for line in sys.stdin:
    command = json.loads(line)
    try:
        say(text=ways[command["do"]](command))
    except Exception as error:  # the test decides which may come
        foreign = "" if isinstance(error, openai.APIError) else "foreign "
        say(error=foreign + type(error).__name__, message=str(error))
