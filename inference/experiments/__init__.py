"""Experiments, which take further passes: knock-outs, saturation, senses, metadata values."""
