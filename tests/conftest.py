"""No test reads the settings, keys or history of whoever runs it, and none writes to their home."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from agent.redact import secret_names

# The same examples each time and no deadline: a change fails, a busy machine does not.
settings.register_profile("hermes", derandomize=True, deadline=None)
settings.load_profile("hermes")

_ALSO = ("OPENAI_BASE_URL", "OLLAMA_HOST", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "VISUAL", "EDITOR")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own; Hermes keeps its files in `hermes-home` there, which does not exist yet."""
    folder = tmp_path_factory.mktemp("home")
    for name in [*secret_names(os.environ), *_ALSO, *(name for name in os.environ if name.startswith("HERMES_"))]:
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (folder / "run").mkdir(mode=0o700)  # others than private ones are not taken
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("HERMES_HOME", str(folder / "hermes-home"))
    return folder
