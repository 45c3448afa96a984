"""The verdict on the corpus: what limits the answer on the side of the data."""

from collections.abc import Iterator

from ...data.design import Design
from ...html.sentence import Sentence, capital
from ...html.text import visible
from ...statistics.permutations import MIN_DOCUMENTS_FOR_P, MIN_DOCUMENTS_FOR_TRUST
from .measures import CorpusRecord as Record

LONGEST_WARNING = 400


def corpus_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """What limits the answer on the side of the data."""
    fewest = record.fewest_groups
    unit = "groups" if record.grouped else "documents"
    if MIN_DOCUMENTS_FOR_P <= fewest < MIN_DOCUMENTS_FOR_TRUST:
        yield Sentence(
            "corpus",
            "warning",
            f"Few {unit}: the smallest topic has {fewest}; below {MIN_DOCUMENTS_FOR_TRUST} "
            "estimates are rough.",
            "Raise corpus.splits.probe_documents, or use a larger corpus.",
        )
    for warning in record.audit.warnings if record.audit else ():
        claim = capital(visible(warning.text, LONGEST_WARNING))
        yield Sentence(warning.subject, "warning", claim, "Corpus audit.")
