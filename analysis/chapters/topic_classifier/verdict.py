"""The verdict on the classifier: whether experts tell the topic, and more of it than words."""

from collections.abc import Iterator
from typing import Any

from ...data.design import Design
from ...html.records import rows
from ...html.sentence import Sentence, capital
from ...html.text import number, p_text, percent, percent_interval
from ...statistics.units import MIN_GROUPS_FOR_P
from .measures import TopicClassifierRecord as Record


def classifier_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Whether the topic of a text can be read off its experts; nothing without a classifier."""
    frame = record.accuracy
    if frame.empty:
        return
    by_reader = {row.reader: row for row in rows(frame)}
    experts = by_reader["experts"]
    if experts.p_value != experts.p_value:
        yield Sentence(
            "topic classifier",
            "warning",
            f"No test of the topic classifier: a topic has only {experts.fewest_units} groups, and "
            f"{MIN_GROUPS_FOR_P} are needed.",
            "What documents of one group have in common counts once.",
        )
        return
    found = experts.p_value <= design.alpha
    claim = "No evidence that the topic of a text can be read off its experts"
    if found:
        claim = (
            "The topic of a text can be read off its experts: "
            f"{percent(experts.accuracy)} are named right, {percent(experts.chance)} by chance"
        )
    yield Sentence(
        "topic classifier",
        "finding" if found else "none",
        f"{claim}{_beside_words(by_reader, design)}.",
        f"{capital('; '.join(_reader(row) for row in by_reader.values()))}. "
        f"n = {experts.units:,} groups of a topic ({experts.documents:,} documents); unit: share "
        "of groups whose topic ridge regression names right, groups held out whole, mean over "
        f"topics; baseline: {percent(experts.chance)} by chance, {experts.permutations:,} shuffles "
        "of topics over groups and, for what experts add, of what words leave of the experts.",
    )


def _beside_words(by_reader: dict[str, Any], design: Design) -> str:
    if "both" not in by_reader:
        return ""
    words, both = by_reader["words"], by_reader["both"]
    told = f"the words alone name {percent(words.accuracy)}"
    if both.p_value > design.alpha:
        return f"; {told}, and there is no evidence that the experts add to them"
    if both.gain_low > 0:
        points = number(100 * both.gain, 2)
        return f"; {told}, and what the experts add to them is worth {points} points"
    return (
        f"; {told}, and the experts hold something of the topic that words do not, too little to "
        "say that more topics are named right"
    )


def _reader(row: Any) -> str:
    text = f"{row.reader} {percent(row.accuracy)}, {percent_interval(row.low, row.high)}"
    if row.p_value == row.p_value:
        text += f", {p_text(row.p_value, row.permutations)}"
    if row.reader == "both":
        low, high = number(100 * row.gain_low, 2), number(100 * row.gain_high, 2)
        text += f", gain {number(100 * row.gain, 2)} points ({low} to {high})"
    return text
