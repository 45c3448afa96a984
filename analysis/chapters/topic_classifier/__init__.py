"""E6: a document's topic predicted from its experts."""

from ..chapter import Chapter
from .measures import measure_topic_classifier
from .section import classifier_section

CHAPTER = Chapter(
    name="topic_classifier",
    measure=measure_topic_classifier,
    section=classifier_section,
)
