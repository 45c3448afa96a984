"""The routing store: its schema, reader and writer."""

from .reader import RoutingStore, StoreFacts

__all__ = ["RoutingStore", "StoreFacts"]
