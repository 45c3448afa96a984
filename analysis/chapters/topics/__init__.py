"""E2 and E3: which topics the experts are chosen for, and how much they tell of them."""

from ..chapter import Chapter
from .measures import information_by_layer, measure_topics
from .section import overview, topics_section
from .verdict import topics_sentences

CHAPTER = Chapter(
    name="topics",
    measure=measure_topics,
    section=topics_section,
    sentences=topics_sentences,
    by_layer=information_by_layer,
    overview=overview,
    definitions=(
        (
            "Topic information",
            "I = H(mean over t of p(e|t)) − mean over t of H(p(e|t)), in bits, topics weighted "
            "equally, of the means of groups' shares; bias removed by the jackknife over groups.",
        ),
        (
            "Log2 ratio",
            "Topic's share over the mean of all topics, each the mean of its groups' shares, a "
            "group weighted by its tokens up to those of the median group; half a token added to "
            "every cell.",
        ),
    ),
)
