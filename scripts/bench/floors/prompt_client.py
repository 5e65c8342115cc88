"""A prompt, the client imported in a thread meanwhile, and answers streamed to the terminal."""

import sys
import threading
from typing import Any

from prompt_toolkit import PromptSession

client: Any = None


def load() -> None:
    global client
    from openai import OpenAI

    client = OpenAI()


loader = threading.Thread(target=load)
loader.start()
session: PromptSession[str] = PromptSession("› ")
messages: list[dict[str, str]] = []
while True:
    messages.append({"role": "user", "content": session.prompt()})
    loader.join()
    answer = ""
    for chunk in client.chat.completions.create(model="instant", messages=messages, stream=True):
        if chunk.choices and (text := chunk.choices[0].delta.content):
            answer += text
            sys.stdout.write(text)
            sys.stdout.flush()
    messages.append({"role": "assistant", "content": answer})
    print()
