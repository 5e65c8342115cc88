"""Searching a large tree with and without ripgrep's first look, turn about: `python scripts/bench/search.py [folder]`.

Without a folder: one of 20,000 files of 20 KB each. Prints medians in milliseconds; compare only figures of one run.
"""

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from agent.cancel import CancelToken
from agent.protocols import Approved, ToolContext
from agent.tools.search_files import SearchFiles, SearchFilesArguments

FILES, SIZE, ROUNDS = 20_000, 20_000, 5
PATTERNS = ("no_such_word", r"def \w+_nowhere\(", "common", r"[a-z]+")


def search(root: Path, pattern: str) -> tuple[float, str]:
    tool, args, context = SearchFiles(), SearchFilesArguments(pattern=pattern), ToolContext(root)
    action = tool.plan(args, context)
    begun = time.perf_counter()
    result = tool.run(args, context.for_call("call", Approved(action)), CancelToken())
    return time.perf_counter() - begun, result.content


def make(root: Path) -> None:
    chance = random.Random(1)
    words = [f"word{number}" for number in range(5_000)]
    text = "\n".join(" ".join(chance.choices(words, k=10)) for _ in range(SIZE // 80))
    for number in range(FILES):
        folder = root / f"d{number // 200}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}.py").write_text(f"{text}\n# common {number}\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else made).resolve()
        if len(sys.argv) == 1:
            make(root)
        path, bare = os.environ["PATH"], tempfile.gettempdir()
        search(root, PATTERNS[0])
        for pattern in PATTERNS:
            times: dict[str, list[float]] = {path: [], bare: []}
            found = set[str]()
            for _ in range(ROUNDS):
                for places in times:
                    os.environ["PATH"] = places
                    spent, content = search(root, pattern)
                    times[places].append(spent * 1000)
                    found.add(content)
            with_it, without = (statistics.median(one) for one in times.values())
            same = "the same" if len(found) == 1 else "NOT THE SAME"
            print(f"{pattern:<20} with {with_it:7.0f}  without {without:7.0f}  {without / with_it:4.1f}x  {same}")


if __name__ == "__main__":
    main()
