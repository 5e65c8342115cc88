"""The platforms a person may write from."""

from enum import StrEnum


class Platform(StrEnum):
    """A chat platform. The value is its name in settings and ids."""

    TELEGRAM = "telegram"
    DISCORD = "discord"
    SLACK = "slack"
    MEMORY = "memory"
