"""Tokens stay out of logs, whoever logs: libraries write the addresses they ask, and Telegram's hold the token."""

import logging
import os
from collections.abc import Callable, Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from agent.redact import Redactor

_LOUD = ("httpx", "httpcore", "telegram", "discord", "slack_sdk", "slack_bolt", "aiohttp")
"""Libraries that tell of each request. Their warnings are kept."""

LOG_SIZE = 5_000_000
"""Bytes of a log file, of which two older ones are kept."""

TOLD = logging.getLogger("gateway.told")
"""What whoever started the gateway sees of it."""

_secrets: set[str] = set()
_redact = Redactor()


def keep_out(secrets: Iterable[str]) -> Redactor:
    """From now on no record of any logger holds one of these; returns what takes them out of other texts."""
    global _redact
    _secrets.update(secrets)
    _redact = Redactor(_secrets)
    if not isinstance(made := logging.getLogRecordFactory(), _Clean):
        logging.setLogRecordFactory(_Clean(made))
    for name in _LOUD:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    return _redact


def log_to(path: Path) -> None:
    """Write warnings, and what the gateway itself tells, to a file that only its owner can read.

    What the file cannot take is dropped: a full disk must not fill the service's own output with tracebacks.
    """
    logging.raiseExceptions = False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    handler = RotatingFileHandler(path, maxBytes=LOG_SIZE, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(logging.INFO)


def tell_on(stream: TextIO) -> None:
    """Say on a terminal that the gateway has started, what is connected, and that it has ended; the log has all."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    TOLD.addHandler(handler)


class _Clean:
    """Makes log records, cleaned before any handler sees them. Arguments are joined, for they may be any object."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make
        self._formatter = logging.Formatter()

    def __call__(self, *args: object, **more: object) -> logging.LogRecord:
        record = self._make(*args, **more)
        record.msg, record.args = _redact(_message(record)), ()
        if record.exc_info and record.exc_info[1] is not None:
            # Handlers use the text where there is one; the exception itself keeps what it says.
            record.exc_text = _redact(self._formatter.formatException(record.exc_info))
        return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"
