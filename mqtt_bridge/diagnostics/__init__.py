"""Checks over cached state, each with what it found and what to do."""
