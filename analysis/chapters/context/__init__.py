"""E4: what the topic adds to the tokens themselves."""

from ..chapter import Chapter
from .measures import context_by_layer, measure_context
from .section import context_section
from .verdict import context_sentences

CHAPTER = Chapter(
    name="context",
    measure=measure_context,
    section=context_section,
    sentences=context_sentences,
    uses={"information": "topics.information"},
    by_layer=context_by_layer,
    definitions=(
        (
            "Topic beyond vocabulary",
            "R = choices of a group minus what its token types expect, each type as routed in "
            "all other groups; only types that at least five groups use. R per token is compared "
            "by topic as topic information is, under permutations of its own. A second form "
            "holds pairs of previous and current token fixed.",
        ),
    ),
)
