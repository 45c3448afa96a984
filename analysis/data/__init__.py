"""What the chapters read."""
