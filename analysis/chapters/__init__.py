"""The chapters of a report, in the order of the page.

A chapter is a folder: what it computes (`measures.py`), draws (`figures.py`), shows (`section.py`)
and says (`verdict.py`). Whatever handles all chapters loops over `CHAPTERS`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.design import Design
from ..data.run import RunData
from ..html.page import Section
from ..html.sentence import Sentence
from ..statistics.draws import Draws
from . import (
    checkpoints,
    confidence,
    context,
    corpus,
    covariates,
    examples,
    experts,
    form,
    knockout,
    load,
    methods,
    paths,
    position,
    senses,
    time,
    topic_classifier,
    topic_map,
    topics,
    training,
    vocabulary,
)
from .chapter import Chapter

CHAPTERS: list[Chapter] = [
    topics.CHAPTER,
    context.CHAPTER,
    topic_classifier.CHAPTER,
    topic_map.CHAPTER,
    form.CHAPTER,
    vocabulary.CHAPTER,
    covariates.CHAPTER,
    position.CHAPTER,
    senses.CHAPTER,
    load.CHAPTER,
    knockout.CHAPTER,
    paths.CHAPTER,
    confidence.CHAPTER,
    checkpoints.CHAPTER,
    time.CHAPTER,
    training.CHAPTER,
    corpus.CHAPTER,
    experts.CHAPTER,
    examples.CHAPTER,
]
CHAPTERS.append(methods.methods_chapter(CHAPTERS))

Records = Mapping[str, Any]  # chapter's name → its record


def measure_chapters(run: RunData, chapters: Sequence[Chapter] = CHAPTERS) -> Records:
    """Computes the record of every chapter that the run has something for.

    The same store, settings and seed give the same records.

    Raises:
        UserError: the store holds nothing to analyse.
    """
    records: dict[str, Any] = {}
    for chapter in chapters:
        used = {argument: _look_up(records, place) for argument, place in chapter.uses.items()}
        record = chapter.measure(run, draws_of(run, chapter.name), **used)
        if record is not None:
            records[chapter.name] = record
    return records


def draws_of(run: RunData, chapter: str) -> Draws:
    """The draws of one chapter: a stream of its own, whatever other chapters there are."""
    generator = np.random.default_rng([run.seed, *chapter.encode()])
    return Draws(generator, len(run.documents.ids), run.settings.permutations, run.weights)


def _look_up(records: Records, place: str) -> Any:
    """Returns "chapter.attribute" of a record; None where the chapter was left out."""
    name, _, attribute = place.partition(".")
    return getattr(records[name], attribute) if name in records else None


def told(records: Records, chapters: Sequence[Chapter] = CHAPTERS) -> list[tuple[Chapter, Any]]:
    """Pairs the chapters that have a record with it, in order."""
    return [(chapter, records[chapter.name]) for chapter in chapters if chapter.name in records]


def write_verdict(
    records: Records, design: Design, chapters: Sequence[Chapter] = CHAPTERS
) -> list[Sentence]:
    """Writes the sentences of all chapters, the question of topic first."""
    return [
        sentence
        for chapter, record in told(records, chapters)
        for sentence in chapter.sentences(record, design)
    ]


def draw_sections(
    records: Records, design: Design, chapters: Sequence[Chapter] = CHAPTERS
) -> list[Section]:
    """Draws the sections of all chapters."""
    drawn = [
        chapter.section(record, design)
        for chapter, record in told(records, chapters)
        if chapter.section is not None
    ]
    return [section for section in drawn if section is not None]
