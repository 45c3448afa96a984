"""What a corpus audit should make its reader wary of: each warning a kind with its values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FEW_PROBE_DOCUMENTS, NO_TEST_DOCUMENTS = 30, 10  # ANALYSIS, "Few documents"
LARGE_GROUP = 0.2
UNEQUAL_SIZES = 10.0
UNEQUAL_LENGTHS = 2.0
FOREIGN_LETTERS = 0.1
SHARED_REPEATS = 0.01
SAME_WORDS = 0.9
MOST_NAMES = 8  # listed in one warning

TEXTS = {
    "one_topic": (
        "audit",
        "there is one topic only ({topic!r}), so nothing can be said about topics; name a topic "
        "column, or derive topics with corpus.topics.derive=nmf",
    ),
    "unequal_sizes": (
        "corpus",
        "{larger} has {most} training documents and {smaller} only {least}: routing may follow "
        "size; balance with corpus.topics.balance=true",
    ),
    "no_test": ("corpus", "the probe has {documents} documents per topic: too few for any p-value"),
    "little_power": (
        "corpus",
        "the probe has only {documents} documents per topic: tests have little power",
    ),
    "one_source": (
        "audit",
        "one source supplies each of these topics, so topic and source (its style, its templates) "
        "cannot be told apart: {topics}",
    ),
    "large_group": (
        "audit",
        "one group supplies much of some topics (largest share: {shares})",
    ),
    "unequal_lengths": (
        "lengths",
        "documents of {longer} are longer (median {long:.0f} words) than those of {shorter} "
        "({short:.0f}): routing may follow length or position",
    ),
    "other_scripts": (
        "audit",
        "some topics are in other scripts than Latin ({shares}): routing may follow script",
    ),
    "repeats_across_splits": (
        "audit",
        "{number} {repeat} duplicates are in another split than their original: evaluation sees "
        "training text",
    ),
    "repeats_across_topics": (
        "audit",
        "{number} {repeat} duplicates had their original in another topic{removed}: the topics "
        "share templates or were labelled loosely",
    ),
    "same_words": (
        "overlap",
        "{first} and {second} use the same words (overlap {overlap:.2f}): vocabulary cannot tell "
        "them apart",
    ),
    "near_not_searched": (
        "audit",
        "near-duplicates were not searched for (corpus.clean.near_duplicates=false)",
    ),
}  # kind → the subject that it limits, and its sentence


@dataclass(frozen=True)
class AuditWarning:
    """One caution.

    Attributes:
        kind: a key of `TEXTS`.
        values: what its sentence names.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What it limits; it decides the figure that a reader is sent to."""
        return TEXTS[self.kind][0]

    @property
    def text(self) -> str:
        """The caution in words."""
        return TEXTS[self.kind][1].format(**self.values)


def list_warnings(audit: Mapping[str, Any], *, near_searched: bool) -> list[AuditWarning]:
    """Finds every way in which the corpus could mislead a topic analysis."""
    topics = audit["topics"]
    if len(topics) == 1:
        return [AuditWarning("one_topic", {"topic": topics[0]})]
    checks = (_sizes, _sources, _groups, _lengths, _letters, _repeats, _words)
    found = [warning for check in checks for warning in check(audit)]
    if not near_searched:
        found.append(AuditWarning("near_not_searched"))
    return found


def _sizes(audit: Mapping[str, Any]) -> list[AuditWarning]:
    found = []
    train = audit["documents"]["train"]
    least, most = min(train, key=train.get), max(train, key=train.get)
    if train[most] > UNEQUAL_SIZES * train[least]:
        values = {"larger": most, "most": train[most], "smaller": least, "least": train[least]}
        found.append(AuditWarning("unequal_sizes", values))
    probe = min(audit["documents"]["probe"].values())
    if probe < NO_TEST_DOCUMENTS:
        found.append(AuditWarning("no_test", {"documents": probe}))
    elif probe < FEW_PROBE_DOCUMENTS:
        found.append(AuditWarning("little_power", {"documents": probe}))
    return found


def _sources(audit: Mapping[str, Any]) -> list[AuditWarning]:
    everywhere = {name for counts in audit["sources"].values() for name in counts}
    alone = [topic for topic, counts in audit["sources"].items() if len(counts) == 1]
    if len(everywhere) == 1 or not alone:
        return []
    return [AuditWarning("one_source", {"topics": _listed(alone)})]


def _groups(audit: Mapping[str, Any]) -> list[AuditWarning]:
    large = {t: s for t, s in audit["largest_group_share"].items() if s > LARGE_GROUP}
    if not large:
        return []
    ordered = sorted(large, key=lambda topic: -large[topic])
    shares = _listed([f"{topic} {large[topic]:.0%}" for topic in ordered])
    return [AuditWarning("large_group", {"shares": shares})]


def _lengths(audit: Mapping[str, Any]) -> list[AuditWarning]:
    medians = {topic: values["median"] for topic, values in audit["words"].items()}
    short, long = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    if medians[long] <= UNEQUAL_LENGTHS * max(medians[short], 1):
        return []
    values = {"longer": long, "long": medians[long], "shorter": short, "short": medians[short]}
    return [AuditWarning("unequal_lengths", values)]


def _letters(audit: Mapping[str, Any]) -> list[AuditWarning]:
    foreign = {t: s for t, s in audit["non_latin_share"].items() if s > FOREIGN_LETTERS}
    if not foreign or len(foreign) == len(audit["topics"]):
        return []
    shares = _listed([f"{topic} {share:.0%}" for topic, share in foreign.items()])
    return [AuditWarning("other_scripts", {"shares": shares})]


def _repeats(audit: Mapping[str, Any]) -> list[AuditWarning]:
    found = []
    total = sum(sum(counts.values()) for counts in audit["documents"].values())
    for repeat in ("exact", "near"):
        counts = audit[f"{repeat}_duplicates"]
        if number := counts["across_splits"]:
            found.append(
                AuditWarning("repeats_across_splits", {"number": number, "repeat": repeat})
            )
        if (number := counts["across_topics"]) > SHARED_REPEATS * total:
            removed = " (removed)" if counts["removed"] == counts["found"] else ""
            values = {"number": number, "repeat": repeat, "removed": removed}
            found.append(AuditWarning("repeats_across_topics", values))
    return found


def _words(audit: Mapping[str, Any]) -> list[AuditWarning]:
    topics, overlap = audit["topics"], audit["word_overlap"]
    return [
        AuditWarning(
            "same_words", {"first": topics[i], "second": topics[j], "overlap": overlap[i][j]}
        )
        for i in range(len(topics))
        for j in range(i)
        if overlap[i][j] > SAME_WORDS
    ]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
