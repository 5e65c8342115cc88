"""Where conversations and tasks are kept."""
