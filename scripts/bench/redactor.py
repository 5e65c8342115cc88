"""Run the redactor over ordinary source code, and print how much of it would be taken for secrets.

    scripts/bench/redactor.py [--show] [FOLDER …]

Without folders: the standard library and what is installed beside Hermes. What is counted is every line that is
changed, rightly or not: some of the tests there hold real-looking keys, which is what `--show` is for.
"""

import argparse
import sysconfig
import time
from collections import Counter
from pathlib import Path

from agent.redact import Redactor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--show", action="store_true", help="print each line that is changed, and what becomes of it")
    arguments = parser.parse_args()
    folders = arguments.folders or [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    redact, count, began = Redactor(["a-key-that-is-nowhere-9"]), Counter[str](), time.perf_counter()
    sources = sorted({path for folder in folders for path in folder.rglob("*.py") if path.is_file()})
    for path in sources:
        text = path.read_bytes().decode(errors="replace")
        count["lines"] += text.count("\n")
        count["characters"] += len(text)
        for start, end in redact.find(text):
            lines = text.count("\n", start, end) + 1
            count["changed"] += lines
            if arguments.show:
                first, last = text.rfind("\n", 0, start) + 1, (text + "\n").find("\n", end)
                shown = text[first:start] + "«" + text[start:end] + "»" + text[end:last]
                print(f"{path}:{text.count(chr(10), 0, start) + 1}: {shown[:300]}")
    seconds = time.perf_counter() - began
    rate = 100_000 * count["changed"] / max(count["lines"], 1)
    print(f"{len(sources):,} files, {count['lines']:,} lines: {count['changed']} changed, {rate:.2f} per 100,000 lines")
    print(f"{count['characters'] / 1e6 / seconds:.1f} million characters a second, reading included")


if __name__ == "__main__":
    main()
