"""One running node: its files, and the building of everything from its settings."""
