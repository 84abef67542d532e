"""Builds a node out of its rooms and runs it."""
