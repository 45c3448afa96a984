"""E6: the topic of a text predicted from its experts."""

from ..chapter import Chapter
from .measures import measure_topic_classifier
from .section import classifier_section
from .verdict import classifier_sentences

CHAPTER = Chapter(
    name="topic_classifier",
    measure=measure_topic_classifier,
    section=classifier_section,
    sentences=classifier_sentences,
)
