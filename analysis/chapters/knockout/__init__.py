"""E13: what losing an expert costs."""

from ..chapter import Chapter
from .measures import measure_knockout
from .section import causes_section
from .verdict import knockout_sentences

CHAPTER = Chapter(
    name="knockout",
    measure=measure_knockout,
    section=causes_section,
    sentences=knockout_sentences,
    uses={"cells": "topics.cells"},
)
