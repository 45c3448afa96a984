"""From a routing store to numbers, figures and pages; no torch needed.

`from analysis import NAME` for the names below; every quantity is a function of arrays or of a
`RoutingStore` and returns a tidy frame or a small frozen record. The other modules of the package
hold one quantity each (docs/report.md lists them).
"""

from importlib import import_module
from typing import Any

_HOMES = {  # name → module; read when asked for, since some take a second to import
    "DocumentCounts": "documents",
    "RoutingResults": "results",
    "TokenSample": "sample",
    "analyse_routing": "results",
    "analyse_time": "time",
    "document_counts": "documents",
    "document_orders": "permutations",
    "expert_load": "load",
    "layer_balance": "load",
    "match_experts": "matching",
    "permuted_topics": "permutations",
    "poisson_weights": "bootstrap",
    "restricted_orders": "permutations",
    "routing_saturation": "saturation",
    "run_similarity": "matching",
    "token_sample": "sample",
    "top_tokens": "vocabulary",
    "topic_expert_cells": "topics",
    "topic_information": "information",
    "topic_null": "information",
    "type_counts": "results",
    "vocabulary_specialisation": "vocabulary",
    "write_verdict": "verdict",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
