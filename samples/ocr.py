"""Read a page with OpenAI's Python SDK: ocr.py PAGE

OPENAI_BASE_URL and OPENAI_API_KEY say where the router is and who asks.
"""

import base64
import mimetypes
import sys

from openai import OpenAI

page = sys.argv[1]
with open(page, "rb") as file:
    picture = base64.b64encode(file.read()).decode()
kind = mimetypes.guess_type(page)[0]

stream = OpenAI().chat.completions.create(
    model="deepseek-ai/DeepSeek-OCR",
    messages=[{
        "role": "user",
        "content": [
            {"type": "text", "text": "Free OCR."},
            {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{picture}"}},
        ],
    }],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
