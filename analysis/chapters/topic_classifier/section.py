"""The chapter on the topic classifier: whether a text's topic can be read off its experts."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section
from ...html.records import rows
from ...html.text import percent
from .figures import classifier_figure
from .measures import TopicClassifierRecord as Record


def classifier_section(record: Record, design: Design) -> Section | None:
    """E6: the topic predicted from experts, from words, and from both."""
    frame = record.accuracy
    if frame.empty:
        return None
    first = rows(frame)[0]
    panel = Panel(
        "topic-classifier-accuracy",
        "The topic read off the experts",
        "Experts above the dashed line tell the topic. Whether they tell more than the words do is "
        "the gain of both over words, on hover.",
        f"n = {first.units:,} groups of a topic, {first.documents:,} documents. Unit: share of "
        "groups whose topic ridge regression names right in cross-validation, groups held out "
        f"whole, mean over topics; 95% interval. Baseline: {first.permutations:,} shuffles of "
        f"topics over groups, mean {percent(first.null)}; 1 of {first.topics} topics is "
        f"{percent(first.chance)}. The gain is less what the same residuals of other groups add.",
        {ALL_LAYERS: classifier_figure(frame)},
        frame,
        subject="topic classifier",
        is_main=True,
    )
    return Section(
        "topic-classifier",
        "The topic read off the experts",
        "Whether the topic of a text can be predicted from its experts, beside its words.",
        [panel],
    )
