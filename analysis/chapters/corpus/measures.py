"""What the model saw: the audit of the corpus."""

from dataclasses import dataclass

import pandas as pd

from ...data.audit import CorpusAudit
from ...data.run import RunData
from ...statistics.draws import Draws


@dataclass(frozen=True)
class CorpusRecord:
    """The corpus.

    Attributes:
        audit: what it is made of; None where it is not known.
        near_searched: whether near-duplicates were searched for.
        fewest_groups: groups of the smallest topic of the recorded split.
        grouped: whether groups are known; if not, each document is its own.
    """

    audit: CorpusAudit | None
    near_searched: bool
    fewest_groups: int
    grouped: bool


def measure_corpus(run: RunData, draws: Draws, information: pd.DataFrame) -> CorpusRecord:
    """Gathers the record."""
    manifest = (run.manifests or {}).get("corpus")
    clean = manifest.config["corpus"]["clean"] if manifest else {}
    return CorpusRecord(
        audit=run.audit,
        near_searched=bool(clean.get("near_duplicates", True)),
        fewest_groups=int(information.fewest_groups.iloc[0]),
        grouped=bool(information.grouped.iloc[0]),
    )
