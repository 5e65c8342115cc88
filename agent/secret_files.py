"""Files that look like keys and passwords, by their names and by what they hold: they are handed to nobody unasked."""

import re
from pathlib import Path

from agent.redact import Redactor

LOOKED_AT = 1_000_000
"""Bytes at a file's beginning in which a secret is looked for."""

_NAMES = re.compile(
    r"""id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?(?!.*\.pub$).*
      | .*\.(?:pem|key|p12|pfx|p8|pkcs12|jks|keystore|kdbx?|ppk|ovpn|env|agekey|keytab|gpg)
      | \.env.*|\.?envrc
      | (?:.*[-_.])?credentials?(?:\.(?:json|ya?ml|toml|ini|cfg|conf|csv|txt|xml|db|properties))?
      | (?:.*[-_.])?secrets?\.(?:json|ya?ml|toml|ini|cfg|conf|txt|env|properties)
      | (?:client_secret|service[-_]?account).*\.json
      | (?:access_?|refresh_?)?tokens?\.(?:json|txt)
      | [._]netrc|netrc|\.npmrc|\.pypirc|\.pgpass|\.my\.cnf|\.?git-credentials|\.?htpasswd|\.dockercfg|wallet\.dat
    """,
    re.VERBOSE | re.IGNORECASE,
)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-|\"private_key\"\s*:")
_find = Redactor().find


def has_secret_name(path: Path) -> bool:
    return _NAMES.fullmatch(path.name) is not None


def holds_secret(path: Path) -> bool:
    """Whether a key, a token or a password stands at the file's beginning. Raises: OSError."""
    with path.open("rb") as file:
        data = file.read(LOOKED_AT)
    if _KEY.search(data):
        return True
    return b"\0" not in data and bool(_find(data.decode(errors="replace")))
