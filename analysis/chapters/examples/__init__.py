"""Documents token by token."""

from ..chapter import Chapter
from .measures import measure_examples
from .section import examples_section

CHAPTER = Chapter(
    name="examples",
    measure=measure_examples,
    section=examples_section,
)
