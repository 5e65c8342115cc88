"""Ask once with the bare client, streaming, and print the answer."""

import sys

from openai import OpenAI

messages = [{"role": "user", "content": sys.argv[1]}]
for chunk in OpenAI().chat.completions.create(model="instant", messages=messages, stream=True):  # type: ignore
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
