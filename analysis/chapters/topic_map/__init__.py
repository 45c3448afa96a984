"""E5: which topics are routed alike."""

from ..chapter import Chapter
from .measures import measure_topic_map
from .section import topic_map_section

CHAPTER = Chapter(
    name="topic_map",
    measure=measure_topic_map,
    section=topic_map_section,
)
