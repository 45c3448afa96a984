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
)
