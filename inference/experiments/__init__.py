"""What takes further passes: knock-outs, snapshots, senses, conditions."""
