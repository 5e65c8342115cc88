"""One file a chat platform."""
