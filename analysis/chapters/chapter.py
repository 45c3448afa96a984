"""What a chapter of a report is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..data.design import Design
from ..html.page import Section
from ..html.sentence import Sentence


def says_nothing(record: Any, design: Design) -> Iterable[Sentence]:
    """The sentences of a chapter that has none in the verdict."""
    return ()


@dataclass(frozen=True)
class Chapter:
    """One subject: what it computes, shows and says.

    Attributes:
        name: its id in the page, and the name of its random stream.
        measure: `(run, draws, **uses) → record`, with `data.run.RunData` and `statistics.Draws`.
            The record is the chapter's own type; None where this run has nothing on the subject,
            and then the chapter is left out.
        section: `(record, design) → html.page.Section`; None for a chapter that only speaks.
        sentences: `(record, design) →` its sentences of the verdict.
        uses: argument of `measure` → "chapter.attribute" of an earlier chapter's record; the
            argument is None where that chapter was left out.
        by_layer: `(record) →` numbers of each layer for summary.json, Aim and `compare`: one row
            per layer, a column `layer`.
        definitions: terms that it brings, for the chapter on methods: (term, meaning).
        overview: `(record, design) →` cells of the table of layers, one row per layer.
    """

    name: str
    measure: Callable[..., Any]
    section: Callable[[Any, Design], Section | None] | None = None
    sentences: Callable[[Any, Design], Iterable[Sentence]] = says_nothing
    uses: Mapping[str, str] = field(default_factory=dict)
    by_layer: Callable[[Any], pd.DataFrame] | None = None
    overview: Callable[[Any, Design], pd.DataFrame] | None = None
    definitions: Sequence[tuple[str, str]] = ()
