"""E16: the same token in different senses."""

from ..chapter import Chapter
from .measures import measure_senses
from .section import senses_section
from .verdict import sense_sentences

CHAPTER = Chapter(
    name="senses",
    measure=measure_senses,
    section=senses_section,
    sentences=sense_sentences,
)
