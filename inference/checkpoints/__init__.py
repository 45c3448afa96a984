"""Checkpoints, ours and others': loading, import, export."""
