"""Which files look like secrets."""

from pathlib import Path

import pytest

from agent.secret_files import has_secret_name, holds_secret

SECRET = [
    "id_rsa", "id_ed25519.bak", "server.pem", "tls.KEY", "credentials.json", "aws_credentials", "credentials", ".env",
    ".env.local", "prod.env", "store.p12", "passwords.kdbx", ".netrc", "_netrc", "client_secret_1.json", "secrets.yaml",
    "service-account.json",
    ".npmrc", "token.json", "my-secret.txt", ".git-credentials",
]  # fmt: skip
ORDINARY = [
    "id_rsa.pub", "id_card.png", "report.md", "credentials_guide.pdf", "environment.md", "key.py",
    "secrets.py", "tokens.py",
    "keyboard.json", "plot.png", "netrc.md",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert has_secret_name(Path("/work") / name)


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_file_is_not(name: str) -> None:
    assert not has_secret_name(Path("/work") / name)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n", True),
        (b'{"type": "service_account", "private_key": "x"}', True),
        (b"token = 'ghp_" + b"a1B2" * 10 + b"'\n", True),
        (b"# How to make a private key\n\nUse ssh-keygen.\n", False),
        (b"\x89PNG\r\n\x00 -----", False),
    ],
)
def test_or_by_what_it_holds(tmp_path: Path, content: bytes, secret: bool) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    assert holds_secret(tmp_path / "notes.txt") == secret
