"""E12: masked and special positions."""

from ..chapter import Chapter
from .measures import measure_position
from .section import position_section
from .verdict import masked_sentences

CHAPTER = Chapter(
    name="position",
    measure=measure_position,
    section=position_section,
    sentences=masked_sentences,
)
