"""Recording: from a model's forward passes to the routing store."""
