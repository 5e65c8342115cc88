"""What every part of the bench shares: a pseudo-terminal, child processes, the local server, the table."""
