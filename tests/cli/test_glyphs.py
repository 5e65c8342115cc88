"""Which signs a terminal gets."""

import pytest

from hermes_cli.glyphs import ASCII, UNICODE, Glyphs, choose


@pytest.mark.parametrize(
    ("env", "signs"),
    [
        ({}, UNICODE),
        ({"LANG": "de_DE.UTF-8"}, UNICODE),
        ({"LANG": "de_DE.ISO-8859-1"}, ASCII),
        ({"LANG": "C", "LC_CTYPE": "de_DE.UTF-8"}, UNICODE),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, ASCII),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, UNICODE),
        ({"LANG": "C.UTF-8", "HERMES_ASCII": "1"}, ASCII),
        ({"LC_CTYPE": "C.UTF-8"}, UNICODE),
    ],
    ids=str,
)
def test_a_plain_locale_gets_plain_signs_whatever_python_made_of_it(env: dict[str, str], signs: Glyphs) -> None:
    assert choose(env, "utf-8") is signs
