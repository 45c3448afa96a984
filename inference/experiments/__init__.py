"""What takes further passes: knock-outs, snapshots, senses, losses by metadata value."""
