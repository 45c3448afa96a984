"""The corpus audit (audit.json) as tidy frames."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...configs.errors import UserError
from ...data_processors.audit_warnings import AuditWarning

LENGTHS = ["p5", "p25", "median", "p75", "p95", "max"]


@dataclass(frozen=True)
class CorpusAudit:
    """What the corpus is made of.

    Attributes:
        topics: names.
        documents: `topic, split, documents, groups`.
        lengths: `topic`, quantiles and maximum of the words per document.
        overlap: `topic, other, overlap` (share of words that two topics have in common).
        quality: `topic, non_latin_share, largest_group_share`.
        duplicates: `kind, found, removed, within_topics, across_topics, across_splits`.
        removed: reason → documents.
        warnings: what it should make a reader wary of.
    """

    topics: tuple[str, ...]
    documents: pd.DataFrame
    lengths: pd.DataFrame
    overlap: pd.DataFrame
    quality: pd.DataFrame
    duplicates: pd.DataFrame
    removed: Mapping[str, int]
    warnings: tuple[AuditWarning, ...]


def read_audit(path: Path) -> CorpusAudit:
    """Reads audit.json.

    Raises:
        UserError: the file is missing or is not an audit.
    """
    try:
        return corpus_audit(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; rerun `moescope corpus`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a corpus audit ({error}); rerun `moescope corpus`") from error


def corpus_audit(audit: Mapping[str, Any]) -> CorpusAudit:
    """Puts the audit (docs/corpus.md) into frames."""
    topics = tuple(audit["topics"])
    documents = [
        {"topic": t, "split": split, "documents": count, "groups": audit["groups"][split][t]}
        for split, counts in audit["documents"].items()
        for t, count in counts.items()
    ]
    lengths = [{"topic": topic, **audit["words"][topic]} for topic in topics]
    overlap = [
        {"topic": topic, "other": other, "overlap": audit["word_overlap"][row][column]}
        for row, topic in enumerate(topics)
        for column, other in enumerate(topics)
    ]
    names = ["non_latin_share", "largest_group_share"]
    quality = [{"topic": t, **{name: audit[name][t] for name in names}} for t in topics]
    kinds = [
        {"kind": kind.split("_")[0], **_counts(audit[kind])}
        for kind in ("exact_duplicates", "near_duplicates")
    ]
    return CorpusAudit(
        topics=topics,
        documents=pd.DataFrame(documents),
        lengths=pd.DataFrame(lengths, columns=["topic", "mean", *LENGTHS]),
        overlap=pd.DataFrame(overlap),
        quality=pd.DataFrame(quality),
        duplicates=pd.DataFrame(kinds),
        removed=dict(audit["removed"]),
        warnings=tuple(AuditWarning(**warning) for warning in audit["warnings"]),
    )


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, count in found.items() if isinstance(count, int)}
