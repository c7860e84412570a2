"""Simulated backup servers."""
