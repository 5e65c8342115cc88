"""What looks like a secret, and how it is taken out of text and of environments. Standard library only.

Cleaning happens once, at the edge: tool output before the model and the store see it, and whatever goes into logs.
A pattern belongs here only when ordinary source code does not match it: a redacted file cannot be edited.
`scripts/bench/redactor.py` measures that.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

REDACTED = "[redacted]"
SHORTEST_SECRET = 8
"""Characters; a shorter value would take ordinary words out of the text."""
SHORTEST_BROKEN = 16
"""Characters of a known value that is also looked for over several lines."""
MARGIN = 16_384
"""Characters beside a cut that are looked at with it: more than the longest secret, a private key, has."""

Span = tuple[int, int]
"""Where something is in a text: its start, and the place after its end."""

_SECRET_NAME = re.compile(
    r"""(?:^|_)(?:API|ACCESS|AUTH|ACCOUNT|SECRET|PRIVATE|SIGNING|ENCRYPTION|MASTER|LICENSE)?KEYS?(?:_|$)
      | (?:TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|CREDS)(?:_|$)
      | _(?:PWD|PAT|AUTH|CONNECTION_STRING|DSN)$
      | (?<!COM)(?<!BY)(?<!ASK)(?<!TRES)(?<!SUR)PASS$
      | (?:COOKIES?|WEBHOOK(?:_URL)?)$
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PROXY = re.compile(r"\w+_proxy", re.IGNORECASE)
"""Nothing reaches the network without it, whatever password it has."""
_URL_WITH_PASSWORD = re.compile(r"://[^\s/:@]*:[^\s/@]+@")
_PLAIN_VALUE = re.compile(r"[\d.,:-]+|true|false|[~.]{0,2}/.*", re.IGNORECASE | re.DOTALL)
"""Values that are no secret whatever their name: numbers, switches and paths (`GOOGLE_APPLICATION_CREDENTIALS`)."""
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_BREAK = r"\\?\r?\n[ \t]*"
"""The end of a line and the indentation of the next one."""
_BREAKS = re.compile(_BREAK)


def secret_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that hold a secret by their names, or an address with a password, in their order."""
    return tuple(name for name, value in env.items() if _SECRET_NAME.search(name) or _holds_password(name, value))


def _holds_password(name: str, value: str) -> bool:
    return bool(_URL_WITH_PASSWORD.search(value)) and not _PROXY.fullmatch(name)


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
    characters are not looked for. A known value is found as it is, as JSON and URLs write it, wrapped over lines, and
    when it has several lines itself, each line of a key alone.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        given = {secret.strip() for secret in secrets if _is_searchable(secret.strip())}
        known = given | {line for secret in given for line in secret.splitlines()[1:] if _KEY_LINE.fullmatch(line)}
        known |= {json.dumps(secret)[1:-1] for secret in known} | {quote(secret, safe="") for secret in known}
        longest_first = sorted(known, key=lambda secret: (-len(secret), secret))
        self._secrets = tuple(longest_first)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        unbroken = {_BREAKS.sub("", secret) for secret in given}
        self._unbroken = tuple(sorted(secret for secret in unbroken if len(secret) >= SHORTEST_BROKEN))

    def __call__(self, text: str) -> str:
        return self.part(text, 0, len(text))

    def part(self, text: str, start: int, end: int) -> str:
        """`text[start:end]` without its secrets, also those that reach over its edges."""
        return without(text, self.find(text), start, end)

    def find(self, text: str) -> list[Span]:
        """Where the secrets are, in order; none overlaps another."""
        found = sorted([*self._find_known(text), *_find_shaped(text)])
        merged: list[Span] = []
        for start, end in found:
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _find_known(self, text: str) -> Iterator[Span]:
        if self._known is not None and any(secret in text for secret in self._secrets):
            yield from (match.span() for match in self._known.finditer(text))
        if self._unbroken and "\n" in text:
            joined = _BREAKS.sub("", text)
            for secret in self._unbroken:
                if secret in joined:
                    broken = f"(?:{_BREAK})?".join(map(re.escape, secret))
                    yield from (match.span() for match in re.finditer(broken, text))


def without(text: str, secrets: Sequence[Span], start: int, end: int) -> str:
    """`text[start:end]` with `[redacted]` where one of the `secrets` is, or a part of one."""
    pieces: list[str] = []
    for first, last in secrets:
        if first >= end:
            break
        if last > start:
            pieces += [text[start : max(first, start)], REDACTED]
            start = min(last, end)
    return "".join([*pieces, text[start:end]])


def _find_shaped(text: str) -> Iterator[Span]:
    folded = text.lower()
    for markers, pattern in _FAMILIES:
        if any(marker in folded for marker in markers):
            for match in pattern.finditer(text):
                # What introduces a secret stays, so that the text can be read.
                lead = match.end("lead") if "lead" in pattern.groupindex else -1
                yield max(lead, match.start()), match.end()


def _is_searchable(value: str) -> bool:
    return len(value) >= SHORTEST_SECRET and not _PLAIN_VALUE.fullmatch(value)


def _family(markers: str, pattern: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """A pattern, and the lower-case texts one of which is in whatever it matches: the quick way past clean text."""
    return tuple(markers.split()), re.compile(pattern, re.VERBOSE)


_NO_PLACEHOLDER = (
    r"(?![\w.+/=-]{0,100}(?i:example|test|dummy|fake|your|change|placeholder|sample|redacted|xxx))"
    r"(?!(?i:pass|secret)\w*[@:\"'])"
)
# Bounded looks ahead, so that hostile text cannot make the search quadratic.
_MIXED = r"(?=[^\s\"'`]{0,100}[0-9])(?=[^\s\"'`]{0,100}[A-Za-z])"
_VALUE = r"[^\s\"'`$<>{}()\[\]\\,;]"
_SECRET_WORD = r"password|passwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|(?:auth|access|bot|api)[_-]?token"
# What may stand before a line of a key: the marks of a diff, the names and numbers of `grep -n` and `cat -n`.
_MARK = r"(?:[+-]|[0-9]+[\t|-]|[^\s:]{1,200}:(?:[0-9]+:)?)"
_GAP = rf"(?:\s|\\[nr]|(?<=\s){_MARK}(?=[ \t]*[A-Za-z0-9+/=-]))*"
_BASE64_LINES = rf"(?:[A-Za-z0-9+/=]{{16,}}{_GAP})+(?:[A-Za-z0-9+/=]+{_GAP})?"
_LINE_END = rf"[ \t]*(?:\r?\n|\\n)[ \t]*(?:{_MARK}[ \t]*)?"
_KEY_END = r"-----END\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----"

_FAMILIES = (
    _family(
        "sk- sk_ rk_ whsec_ ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- gldt- glrt- hf_ gsk_ xai- tgp_v1_ csk- "
        "pplx- nvapi- r8_ npm_ pypi-age dckr_pat_ dop_v1_ lin_api_ shpat_ dapi hvs. sg. ya29. gocspx- xox xapp- "
        "akia asia aiza age-secret-key-1 atatt3 eyj",
        r"""(?<![A-Za-z0-9_-])(?:
            sk-(?:(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{20,}|[a-z]{24,})
          | [sr]k_(?:live|test)_[A-Za-z0-9]{20,}
          | whsec_[A-Za-z0-9+/=]{30,}
          | gh[pousr]_[A-Za-z0-9]{30,}
          | github_pat_[A-Za-z0-9_]{30,}
          | gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,}
          | hf_[A-Za-z0-9]{30,}
          | gsk_[A-Za-z0-9]{40,}
          | xai-[A-Za-z0-9]{40,}
          | tgp_v1_[A-Za-z0-9_-]{40,}
          | csk-[a-z0-9]{40,}
          | pplx-[A-Za-z0-9]{40,}
          | nvapi-[A-Za-z0-9_-]{50,}
          | r8_[A-Za-z0-9]{36,}
          | npm_[A-Za-z0-9]{36}
          | pypi-AgE[A-Za-z0-9_-]{50,}
          | dckr_pat_[A-Za-z0-9_-]{20,}
          | dop_v1_[a-f0-9]{60,}
          | lin_api_[A-Za-z0-9]{30,}
          | shpat_[a-fA-F0-9]{32}
          | dapi[a-f0-9]{32}
          | hvs\.[A-Za-z0-9_-]{20,}
          | SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{40,50}
          | ya29\.[A-Za-z0-9_-]{30,}
          | GOCSPX-[A-Za-z0-9_-]{28}
          | xox[abceoprs]-[A-Za-z0-9-]{10,}
          | xapp-[0-9]-[A-Za-z0-9-]{10,}
          | (?:AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}(?![A-Za-z0-9])
          | AIza[A-Za-z0-9_-]{35}
          | AGE-SECRET-KEY-1[A-Z0-9]{50,}
          | ATATT3[A-Za-z0-9_=-]{50,}
          | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}
        )""",
    ),
    # Telegram's bot tokens; in its addresses the word `bot` comes right before.
    _family(":aa", r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{32,33}(?![A-Za-z0-9])"),
    _family("hooks.slack.com", r"(?P<lead>hooks\.slack\.com/services/)[A-Z0-9]{6,}/[A-Z0-9]{6,}/[A-Za-z0-9]{16,}"),
    _family(
        "-----begin",
        rf"""-----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----{_GAP}
            (?:[A-Za-z-]+:\ [^\n\\]*(?:\s|\\[nr])+)*
            {_BASE64_LINES}(?:{_KEY_END})?""",
    ),
    # The rest of a key whose beginning is not in the text.
    _family(
        "-----end",
        rf"""(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/=]{{16,}}{_LINE_END}){{0,200}}[A-Za-z0-9+/=]{{4,}}{_LINE_END}{_KEY_END}""",
    ),
    _family(
        "authorization",
        rf"""(?P<lead>(?i:authorization)["']?\s*[:=]\s*["']?(?i:bearer|basic|token)\s+)
            (?![A-Z_]+(?![A-Za-z0-9._~+/=-])){_NO_PLACEHOLDER}[A-Za-z0-9._~+/=-]{{12,}}""",
    ),
    _family(
        "password passwd secret api_key api-key apikey access_key access-key accesskey token",
        # Not `AWS::IAM::AccessKey`, which is a type.
        rf"""(?P<lead>(?<![\w:])[\w-]{{0,60}}(?i:{_SECRET_WORD})["']?\s*[:=]\s*(?P<quote>["']))
            {_NO_PLACEHOLDER}{_MIXED}{_VALUE}{{8,}}(?=(?P=quote))""",
    ),
    _family(
        "key= token= secret= password=",
        rf"""(?P<lead>\b[A-Z][A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)=){_NO_PLACEHOLDER}{_MIXED}{_VALUE}{{12,}}(?=\s|\Z)""",
    ),
    # Files of settings: a line of its own, the value without quotes.
    _family(
        "password passwd secret api_key api-key apikey access_key access-key token",
        rf"""(?m:^)(?P<lead>[ \t]*(?:export[ \t]+)?[\w.-]{{0,60}}(?i:{_SECRET_WORD})[ \t]*(?:=|:[ ])[ \t]*)
            {_NO_PLACEHOLDER}(?![A-Za-z_]+[0-9]?[ \t]*(?:\r?\n|\Z))
            (?=[^\s]{{0,100}}[0-9])(?=[^\s]{{0,100}}[a-z])[\w+/=!@#%^&*~?-]{{10,}}(?=[ \t]*(?:\r?\n|\Z))""",
    ),
    _family(
        "://",
        rf"""(?P<lead>://[^\s:/@"'`]{{0,64}}:){_NO_PLACEHOLDER}{_MIXED}[^\s:/@"'`$<>{{}}]{{8,}}(?=@)""",
    ),
)
