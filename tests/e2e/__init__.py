"""The real program in a real pseudo-terminal, against a real HTTP server."""
