"""The asker's side: verdicts ahead of need, and one request's life from sealing to its authenticated end."""
