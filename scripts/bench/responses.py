"""What the local server answers: bytes made once, before the first request."""

import itertools
import json
import re

WORD = "Zyzzyva"
"""The first word of every answer; in no prompt, name or menu."""

END = "Wordsend"
"""The last word of the long answers."""

LONG = 5000
"""Chunks of text in the long answers."""

PAGE = """## Section {n}: moving the rows

The worker reads **one batch at a time** and writes it before it asks for more, so memory does not grow with
the size of the table. See `batch_size` in [the settings](docs/settings.md) and the notes below.

- each batch is one transaction
- a *failed* batch is tried again, `retries` times
  - then the run stops, and says where

```python
def move(rows: Iterator[Row], *, batch_size: int = 500) -> int:
    # Returns how many rows were moved.
    moved = 0
    for batch in batched(rows, batch_size):
        with connect() as database:
            moved += database.write(batch, retries=3)
    return moved
```

| setting | default | meaning |
|---|---|---|
| `batch_size` | 500 | rows in one transaction |
| `retries` | 3 | before the run stops |

1. stop the writers
2. run `python -m move --dry-run`, then without the flag

> The order of rows is kept within a batch.

"""


def event(content: str = "", finish: str | None = None) -> bytes:
    """One server-sent event, as an HTTP chunk of its own."""
    payload: dict[str, object] = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}],
    }
    if finish:
        payload["usage"] = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    return http_chunk(b"data: " + json.dumps(payload).encode() + b"\n\n")


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def last() -> bytes:
    """The end of a streamed answer, and of its HTTP body."""
    return event(finish="stop") + http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def short_words() -> list[str]:
    return [WORD, " is", " a", " beetle", "."]


def long_words() -> list[str]:
    """LONG pieces of Markdown, about as large as tokens; the first is WORD, the last END."""
    text = itertools.chain.from_iterable(re.findall(r"\s*\S{1,5}|\s+", PAGE.format(n=n)) for n in itertools.count(1))
    return [WORD, *itertools.islice(text, LONG - 3), "\n```\n\n", END]


def plain_words() -> list[str]:
    """A few lines of small letters only, for a stream that goes on and on."""
    return ["the", " rain", " in", " spain", " stays", " mainly", " in", " the", " plain", ",", " and", " more", "\n"]


def headers(kind: str, length: int | None = None) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{size}\r\n\r\n".encode()


def whole(value: object) -> bytes:
    """A JSON answer that is not streamed."""
    body = json.dumps(value).encode()
    return headers("application/json", len(body)) + body


def completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    return whole(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "bench", "choices": [choice], "usage": usage}
    )
