"""What the model saw."""

from ..chapter import Chapter
from .measures import measure_corpus
from .section import corpus_section
from .verdict import corpus_sentences

CHAPTER = Chapter(
    name="corpus",
    measure=measure_corpus,
    section=corpus_section,
    sentences=corpus_sentences,
    uses={"information": "topics.information"},
)
