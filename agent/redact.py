"""What looks like a secret, and how it is taken out of text and of environments. Standard library only.

Cleaning happens once, at the edge: tool output before the model and the store see it, and whatever goes into logs.
A pattern belongs here only when ordinary source code does not match it: a redacted file cannot be edited.
"""

import json
import re
from collections.abc import Iterable, Mapping

REDACTED = "[redacted]"
SHORTEST_SECRET = 8
"""Characters; a shorter value would take ordinary words out of the text."""

_SECRET_NAME = re.compile(
    r"""(?:^|_)(?:API|ACCESS|AUTH|ACCOUNT|SECRET|PRIVATE|SIGNING|ENCRYPTION|MASTER|LICENSE)?KEYS?(?:_|$)
      | (?:TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|CREDS)(?:_|$)
      | _(?:PWD|PASS|PAT|AUTH|COOKIE|CONNECTION_STRING|WEBHOOK_URL|DSN)$
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN_VALUE = re.compile(r"[\d.,:-]+|true|false|[~.]{0,2}/.*", re.IGNORECASE | re.DOTALL)
"""Values that are no secret whatever their name: numbers, switches and paths (`GOOGLE_APPLICATION_CREDENTIALS`)."""


def secret_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """The variables whose names say that they hold a secret, in their order."""
    return tuple(name for name in env if _SECRET_NAME.search(name))


def secret_values(env: Mapping[str, str]) -> tuple[str, ...]:
    """What those variables hold, where it is fit for searching: for a `Redactor`."""
    values = (env[name].strip() for name in secret_names(env))
    return tuple(value for value in values if _is_searchable(value))


def scrubbed_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that hold secrets: for a child process."""
    hidden = set(secret_names(env))
    return {name: value for name, value in env.items() if name not in hidden}


class Redactor:
    """Replaces secrets in text by `[redacted]`. Safe to share between threads.

    `secrets` are values known to be secret (keys in use, `secret_values` of the environment); those under eight
    characters are not looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret.strip() for secret in secrets if _is_searchable(secret.strip())}
        known |= {json.dumps(secret)[1:-1] for secret in known}
        longest_first = sorted(known, key=lambda secret: (-len(secret), secret))
        self._secrets = tuple(longest_first)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        if self._known is not None and any(secret in text for secret in self._secrets):
            text = self._known.sub(REDACTED, text)
        folded = text.lower()
        for markers, pattern in _FAMILIES:
            if any(marker in folded for marker in markers):
                text = pattern.sub(_replace, text)
        return text


def _is_searchable(value: str) -> bool:
    return len(value) >= SHORTEST_SECRET and not _PLAIN_VALUE.fullmatch(value)


def _replace(match: re.Match[str]) -> str:
    """Keep what introduces the secret (the group `lead`, where there is one), so that the text stays readable."""
    return match.groupdict().get("lead", "") + REDACTED


def _family(markers: str, pattern: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """A pattern, and the lower-case texts one of which is in whatever it matches: the quick way past clean text."""
    return tuple(markers.split()), re.compile(pattern, re.VERBOSE)


_NO_PLACEHOLDER = (
    r"(?![\w.-]{0,100}(?i:example|test|dummy|fake|your|change|placeholder|sample|redacted|xxx))"
    r"(?!(?i:pass|secret)\w*[@:\"'])"
)
# Bounded looks ahead, so that hostile text cannot make the search quadratic.
_MIXED = r"(?=[^\s\"'`]{0,100}[0-9])(?=[^\s\"'`]{0,100}[A-Za-z])"
_VALUE = r"[^\s\"'`$<>{}()\[\]\\,;]"
_SECRET_WORD = r"password|passwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|(?:auth|access|bot|api)[_-]?token"

_FAMILIES = (
    _family(
        "sk- sk_ rk_ ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- hf_ gsk_ xai- npm_ xox xapp- akia asia aiza eyj",
        r"""(?<![A-Za-z0-9_-])(?:
            sk-(?:(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{20,}|[a-z]{24,})
          | [sr]k_(?:live|test)_[A-Za-z0-9]{20,}
          | gh[pousr]_[A-Za-z0-9]{30,}
          | github_pat_[A-Za-z0-9_]{30,}
          | glpat-[A-Za-z0-9_-]{20,}
          | hf_[A-Za-z0-9]{30,}
          | gsk_[A-Za-z0-9]{40,}
          | xai-[A-Za-z0-9]{40,}
          | npm_[A-Za-z0-9]{36}
          | xox[abeoprs]-[A-Za-z0-9-]{10,}
          | xapp-[0-9]-[A-Za-z0-9-]{10,}
          | (?:AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}(?![A-Za-z0-9])
          | AIza[A-Za-z0-9_-]{35}
          | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}
        )""",
    ),
    # Telegram's bot tokens; in its addresses the word `bot` comes right before.
    _family(":aa", r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9])"),
    _family(
        "-----begin",
        r"""-----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----(?:\s|\\[nr])*
            (?:[A-Za-z-]+:\ [^\n\\]*(?:\s|\\[nr])+)*
            (?:[A-Za-z0-9+/=]{16,}(?:\s|\\[nr])*)+(?:[A-Za-z0-9+/=]+(?:\s|\\[nr])*)?
            (?:-----END\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----)?""",
    ),
    _family(
        "authorization",
        rf"""(?P<lead>(?i:authorization)["']?\s*[:=]\s*["']?(?i:bearer|basic|token)\s+)
            (?![A-Z_]+(?![A-Za-z0-9._~+/=-])){_NO_PLACEHOLDER}[A-Za-z0-9._~+/=-]{{12,}}""",
    ),
    _family(
        "password passwd secret api_key api-key apikey access_key access-key accesskey token",
        rf"""(?P<lead>(?i:{_SECRET_WORD})["']?\s*[:=]\s*(?P<quote>["']))
            {_NO_PLACEHOLDER}{_MIXED}{_VALUE}{{8,}}(?=(?P=quote))""",
    ),
    _family(
        "key= token= secret= password=",
        rf"""(?P<lead>\b[A-Z][A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)=){_NO_PLACEHOLDER}{_MIXED}{_VALUE}{{12,}}(?=\s|\Z)""",
    ),
    _family(
        "://",
        rf"""(?P<lead>://[^\s:/@"'`]{{1,64}}:){_NO_PLACEHOLDER}{_MIXED}[^\s:/@"'`$<>{{}}]{{8,}}(?=@)""",
    ),
)
