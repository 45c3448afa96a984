"""From a routing store to numbers, figures and pages; no torch needed.

`from moescope.analysis import NAME` for the names below; every quantity is a function of arrays or
of a `RoutingStore` and returns a tidy frame or a small frozen record (docs/report.md lists them).
"""

from importlib import import_module
from typing import Any

_HOMES = {  # name → module; read when asked for, since some take a second to import
    "CHAPTERS": "chapters",
    "DocumentCounts": "data.documents",
    "RunData": "data.run",
    "TypeCounts": "data.token_types",
    "TokenSample": "data.sample",
    "document_counts": "data.documents",
    "document_orders": "statistics.permutations",
    "expert_load": "chapters.load.measures",
    "from_counts": "counts",
    "layer_balance": "chapters.load.measures",
    "match_experts": "comparison.matching",
    "measure_chapters": "chapters",
    "permuted_topics": "statistics.permutations",
    "poisson_weights": "statistics.bootstrap",
    "routing_saturation": "chapters.checkpoints.measures",
    "run_similarity": "comparison.matching",
    "token_sample": "data.sample",
    "top_tokens": "chapters.vocabulary.measures",
    "topic_expert_cells": "chapters.topics.cells",
    "topic_information": "chapters.topics.information",
    "topic_tests": "chapters.topics.information",
    "type_counts": "data.token_types",
    "vocabulary_specialisation": "chapters.vocabulary.measures",
    "write_verdict": "chapters",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
