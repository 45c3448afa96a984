"""How the model got where it is."""

from ..chapter import Chapter
from .measures import measure_training
from .section import training_section
from .verdict import training_sentences

CHAPTER = Chapter(
    name="training",
    measure=measure_training,
    section=training_section,
    sentences=training_sentences,
)
