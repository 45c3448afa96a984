"""Definitions, settings, commands, hashes."""

from ..chapter import Chapter
from .measures import measure_methods
from .section import methods_section

CHAPTER = Chapter(
    name="methods",
    measure=measure_methods,
    section=methods_section,
)
