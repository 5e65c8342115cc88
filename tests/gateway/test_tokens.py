"""A token is served by one process, also when two have homes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import HermesError
from gateway.config import Platform, PlatformConfig
from gateway.tokens import alone_with, directory

HOLDS = """
import sys
from gateway.config import Platform, PlatformConfig
from gateway.tokens import alone_with
with alone_with([PlatformConfig(platform=Platform.TELEGRAM, secrets={"bot_token": sys.argv[1]})]):
    print("held", flush=True)
    sys.stdin.read()
"""


def telegram(token: str) -> PlatformConfig:
    return PlatformConfig(platform=Platform.TELEGRAM, secrets={"bot_token": token})


def test_another_home_with_the_same_token_is_refused_until_the_first_is_gone_however_it_went(tmp_path: Path) -> None:
    env = {**os.environ, "HERMES_HOME": str(tmp_path / "another-home")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, "1:secret"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HermesError, match=rf"telegram with this token \(process {other.pid}\)"):
            alone_with([telegram("1:secret")]).__enter__()
        with alone_with([telegram("2:other")]):
            pass
        other.kill()
        other.wait(10)
    with alone_with([telegram("1:secret")]):
        pass


def test_the_token_is_in_no_name_and_no_file() -> None:
    with alone_with([telegram("1:secret")]):
        kept = [f"{path.name} {path.read_text()}" for path in directory().iterdir()]
    assert kept
    assert "secret" not in " ".join(kept)


def test_where_no_lock_can_be_had_the_gateway_serves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hermes").write_text("in the way")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with alone_with([telegram("1:secret")]):
        assert "cannot be known" in caplog.text
