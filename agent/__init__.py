"""The agent: everything that is true whatever front end shows it."""

__version__ = "0.1.0"
