"""E4: what the topic adds to the tokens themselves."""

from ..chapter import Chapter
from .measures import measure_context
from .section import context_section
from .verdict import context_sentences

CHAPTER = Chapter(
    name="context",
    measure=measure_context,
    section=context_section,
    sentences=context_sentences,
    uses={"information": "topics.information"},
)
