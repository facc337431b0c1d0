"""Drives OpenAI's Python SDK for a test: a command a line in, answers out.

Commands and answers are described in ../driver.go. What a command came to is one
line; a stream also says {"began": true} when its first text arrives.
"""

import functools
import json
import sys

import openai


@functools.cache
def client(base_url, key, retries):
    return openai.OpenAI(base_url=base_url, api_key=key or "none", max_retries=retries)


def say(**answer):
    print(json.dumps(answer), flush=True)


def whole(answer):
    return {"value": answer.model_dump(mode="json"), "request_id": answer._request_id}


def headers(command):
    """Leaves the key out where there is none: the SDK itself insists on one."""
    return {} if command["key"] else {"Authorization": openai.Omit()}


def given(command):
    return command.get("params", {}) | {"extra_body": command.get("extra"), "extra_headers": headers(command)}


def read(stream, command, text_of):
    """Reads a stream by plain iteration, or leaves it where the command says so."""
    chunks, texts = [], 0
    for chunk in stream:
        chunks.append(chunk.model_dump(mode="json"))
        if not text_of(chunk):
            continue
        texts += 1
        if texts == 1:
            say(began=True)
        if texts == command.get("leave_after"):
            stream.close()
            break
    return {"chunks": chunks}


def chat(api, command):
    return whole(api.chat.completions.create(**given(command)))


def chat_stream(api, command):
    stream = api.chat.completions.create(stream=True, **given(command))
    return read(stream, command, lambda chunk: chunk.choices and chunk.choices[0].delta.content)


def chat_helper(api, command):
    began = False
    with api.chat.completions.stream(**given(command)) as stream:
        for event in stream:
            if event.type == "content.delta" and event.delta and not began:
                began = True
                say(began=True)
        return {"value": stream.get_final_completion().model_dump(mode="json")}


def completion(api, command):
    return whole(api.completions.create(**given(command)))


def response_stream(api, command):
    stream = api.responses.create(stream=True, **given(command))
    return read(stream, command, lambda event: event.type == "response.output_text.delta")


def models(api, command):
    return {"value": {"data": [model.model_dump(mode="json") for model in api.models.list(extra_headers=headers(command))]}}


def model(api, command):
    return whole(api.models.retrieve(**command["params"]))


def embedding(api, command):
    return whole(api.embeddings.create(**given(command)))


def post(api, command):
    options = {"headers": {"Content-Type": "application/json"}}
    return {"value": api.post("/chat/completions", cast_to=object, content=command["body"].encode(), options=options)}


ways = {way.__name__: way for way in (
    chat, chat_stream, chat_helper, completion, response_stream, models, model, embedding, post)}


def described(error):
    return {
        "class": type(error).__name__,
        "foreign": not isinstance(error, openai.APIError),
        "status": getattr(error, "status_code", 0),
        "code": getattr(error, "code", None) or "",
        "type": getattr(error, "type", None) or "",
        "message": str(error),
    }


for line in sys.stdin:
    command = json.loads(line)
    try:
        api = client(command["base_url"], command["key"], command["retries"])
        say(**ways[command["do"]](api, command))
    except Exception as error:  # the test decides which may come
        say(error=described(error), request_id=getattr(error, "request_id", None) or "")
