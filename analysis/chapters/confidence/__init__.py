"""E11: how sure the router is of its choice."""

from ..chapter import Chapter
from .measures import measure_confidence
from .section import confidence_section

CHAPTER = Chapter(
    name="confidence",
    measure=measure_confidence,
    section=confidence_section,
)
