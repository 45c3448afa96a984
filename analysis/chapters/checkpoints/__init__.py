"""E14 within a run: when the routing settled."""

from ..chapter import Chapter
from .measures import measure_checkpoints
from .section import checkpoints_section
from .verdict import saturation_sentences

CHAPTER = Chapter(
    name="checkpoints",
    measure=measure_checkpoints,
    section=checkpoints_section,
    sentences=saturation_sentences,
)
