"""The same request many times on many threads, with the bare client: `client_pool.py THREADS REQUESTS`."""

import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from openai import OpenAI

threads, requests = int(sys.argv[1]), int(sys.argv[2])
client = OpenAI()


def ask(model: str) -> str:
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


ask("instant")
with ThreadPoolExecutor(threads) as pool:
    began = perf_counter()
    answers = list(pool.map(ask, ["slow2s"] * requests))
    print(perf_counter() - began)
assert all(answers)
