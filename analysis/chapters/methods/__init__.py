"""Definitions, settings, commands, hashes."""

from collections.abc import Sequence

from ..chapter import Chapter
from .measures import methods_of
from .section import methods_section


def methods_chapter(chapters: Sequence[Chapter]) -> Chapter:
    """The chapter on how the others were made.

    Args:
        chapters: all of them; their definitions are read when the report is made.
    """
    return Chapter(
        name="methods",
        measure=lambda run, draws: methods_of(
            run, [definition for chapter in chapters for definition in chapter.definitions]
        ),
        section=methods_section,
    )
