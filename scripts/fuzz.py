"""Fuzz the edit and patch tools, the path checks and the terminal's text, guided by what code is reached.

    fuzz.py TEST [libFuzzer's options, such as -runs=20000 or -max_total_time=60]

TEST is a property of `tests/tools/test_fuzz.py`. Needs atheris (`pip install atheris`), for Linux and macOS; without it
the same properties run on random examples with the other tests.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

try:
    import atheris  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    sys.exit("fuzz.py: atheris is not installed here: pip install atheris")

with atheris.instrument_imports(include=["agent", "hermes_cli"]):
    from tests.tools import test_fuzz

PROPERTIES = {name.removeprefix("test_"): test for name, test in vars(test_fuzz).items() if name.startswith("test_")}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PROPERTIES:
        sys.exit(f"fuzz.py: which property? There are: {', '.join(PROPERTIES)}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], PROPERTIES[name].hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
