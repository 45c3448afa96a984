"""What a corpus audit should make its reader wary of, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

FEW_PROBE_DOCUMENTS, NO_TEST_DOCUMENTS = 30, 10  # ANALYSIS, "Few documents"
LARGE_ORIGIN = 0.2
UNEQUAL_SIZES = 10.0
UNEQUAL_LENGTHS = 2.0
FOREIGN_LETTERS = 0.1
SHARED_REPEATS = 0.01
SAME_WORDS = 0.9


def list_warnings(audit: Mapping[str, Any], *, near_searched: bool) -> list[str]:
    """Returns one sentence for every way in which the corpus could mislead a topic analysis."""
    topics = audit["topics"]
    if len(topics) == 1:
        return [
            f"there is one topic only ({topics[0]!r}), so nothing can be said about topics; name a "
            "topic column, or derive topics with corpus.topics.derive=nmf"
        ]
    checks = (_sizes, _sources, _origins, _lengths, _letters, _repeats, _words)
    found = [warning for check in checks for warning in check(audit)]
    if not near_searched:
        found.append("near-duplicates were not searched for (corpus.clean.near_duplicates=false)")
    return found


def _sizes(audit: Mapping[str, Any]) -> list[str]:
    found = []
    train = audit["documents"]["train"]
    least, most = min(train, key=train.get), max(train, key=train.get)
    if train[most] > UNEQUAL_SIZES * train[least]:
        found.append(
            f"{most} has {train[most]} training documents and {least} only {train[least]}: routing "
            "may follow size; balance with corpus.topics.balance=true"
        )
    probe = min(audit["documents"]["probe"].values())
    if probe < NO_TEST_DOCUMENTS:
        found.append(f"the probe has {probe} documents per topic: too few for any p-value")
    elif probe < FEW_PROBE_DOCUMENTS:
        found.append(f"the probe has only {probe} documents per topic: tests have little power")
    return found


def _sources(audit: Mapping[str, Any]) -> list[str]:
    everywhere = {name for counts in audit["sources"].values() for name in counts}
    alone = [topic for topic, counts in audit["sources"].items() if len(counts) == 1]
    if len(everywhere) == 1 or not alone:
        return []
    return [
        "one source supplies each of these topics, so topic and source (its style, its templates) "
        f"cannot be told apart: {_listed(alone)}"
    ]


def _origins(audit: Mapping[str, Any]) -> list[str]:
    large = {t: s for t, s in audit["largest_origin_share"].items() if s > LARGE_ORIGIN}
    large = {t: s for t, s in audit["largest_origin_share"].items() if s > LARGE_ORIGIN}
    if not large:
        return []
    shares = _listed(
        [f"{topic} {large[topic]:.0%}" for topic in sorted(large, key=lambda t: -large[t])]
    )
    return [f"one origin supplies much of some topics (largest share: {shares})"]


def _lengths(audit: Mapping[str, Any]) -> list[str]:
    medians = {topic: values["median"] for topic, values in audit["words"].items()}
    short, long = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    if medians[long] <= UNEQUAL_LENGTHS * max(medians[short], 1):
        return []
    return [
        f"documents of {long} are longer (median {medians[long]:.0f} words) than those of {short} "
        f"({medians[short]:.0f}): routing may follow length or position"
    ]


def _letters(audit: Mapping[str, Any]) -> list[str]:
    foreign = {t: s for t, s in audit["non_latin_share"].items() if s > FOREIGN_LETTERS}
    if not foreign or len(foreign) == len(audit["topics"]):
        return []
    shares = _listed([f"{topic} {share:.0%}" for topic, share in foreign.items()])
    return [f"some topics are in other scripts than Latin ({shares}): routing may follow script"]


def _repeats(audit: Mapping[str, Any]) -> list[str]:
    found = []
    total = sum(sum(counts.values()) for counts in audit["documents"].values())
    for kind in ("exact", "near"):
        repeats = audit[f"{kind}_duplicates"]
        if repeats["across_splits"]:
            found.append(
                f"{repeats['across_splits']} {kind} duplicates are in another split than their "
                "original: evaluation sees training text"
            )
        if repeats["across_topics"] > SHARED_REPEATS * total:
            removed = " (removed)" if repeats["removed"] == repeats["found"] else ""
            found.append(
                f"{repeats['across_topics']} {kind} duplicates had their original in another "
                f"topic{removed}: the topics share templates or were labelled loosely"
            )
    return found


def _words(audit: Mapping[str, Any]) -> list[str]:
    topics, overlap = audit["topics"], audit["word_overlap"]
    return [
        f"{topics[i]} and {topics[j]} use the same words (overlap {overlap[i][j]:.2f}): vocabulary "
        "cannot tell them apart"
        for i in range(len(topics))
        for j in range(i)
        if overlap[i][j] > SAME_WORDS
    ]


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
