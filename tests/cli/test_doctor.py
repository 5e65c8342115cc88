"""What `hermes doctor` makes of what it finds."""

import pytest

from agent.breakout import Attempt
from hermes_cli.doctor import judged


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("write outside", ["sandbox: it does not hold: write outside"]),
        ("write in /tmp", ["sandbox: it is too tight, commands cannot: write in /tmp"]),
        (
            "change a file's mode outside",
            [
                "sandbox: 1 attempts went as they should",
                "sandbox: landlock cannot prevent: change a file's mode outside",
            ],
        ),
    ],
)
def test_a_wall_that_is_too_tight_is_not_one_that_does_not_hold(name: str, said: list[str]) -> None:
    found = judged([Attempt(name, held=False), Attempt("delete outside", held=True)], "landlock")
    assert [finding.what for finding in found] == said
