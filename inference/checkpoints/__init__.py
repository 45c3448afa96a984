"""Anybody's checkpoints: load, import, export."""
