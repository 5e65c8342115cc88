"""What the terminal knows of keys while it runs."""

from pathlib import Path

from agent.config import Config, Settings, directories
from hermes_cli.model_in_use import ModelInUse


def test_a_key_that_is_stored_later_is_taken_out_as_well(tmp_path: Path) -> None:
    dirs = directories({"HERMES_HOME": str(tmp_path)})
    redact = ModelInUse(Config(Settings(), {}, dirs), {"A_TOKEN": "known-from-the-start"}, changed=lambda: None).redact
    said = "known-from-the-start later-stored-key"
    assert redact(said) == "[redacted] later-stored-key"
    dirs.credentials_file.parent.mkdir(parents=True, exist_ok=True)
    dirs.credentials_file.write_text('openai = "later-stored-key"\n')
    assert redact(said) == "[redacted] [redacted]"
    assert redact.part(said, 0, len(said)) == "[redacted] [redacted]"
