"""The routing store: what it consists of, how it is read and written."""

from .reader import RoutingStore
from .schema import StoreFacts

__all__ = ["RoutingStore", "StoreFacts"]
