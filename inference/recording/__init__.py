"""From a forward pass to the routing store."""
