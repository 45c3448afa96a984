"""E7: the tokens that each expert is chosen for."""

from ..chapter import Chapter
from .measures import measure_vocabulary
from .section import vocabulary_section
from .verdict import vocabulary_sentences

CHAPTER = Chapter(
    name="vocabulary",
    measure=measure_vocabulary,
    section=vocabulary_section,
    sentences=vocabulary_sentences,
)
