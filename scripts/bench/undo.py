"""200 turns of edits with rollbacks at random: is the tree byte for byte what it was?"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.support.undo import Undone


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        started, tried = time.monotonic(), Undone(Path(folder), random.Random(seed))
        tried.run(200)
        seconds = time.monotonic() - started
    print(
        f"{tried.turns} turns, {tried.rollbacks} rollbacks, every one byte for byte, in {seconds:.1f} s (seed {seed})"
    )


if __name__ == "__main__":
    main()
