"""E1: how evenly the experts share the tokens."""

from ..chapter import Chapter
from .measures import balance_by_layer, measure_load
from .section import load_section, overview
from .verdict import load_sentences

CHAPTER = Chapter(
    name="load",
    measure=measure_load,
    section=load_section,
    sentences=load_sentences,
    uses={"cells": "topics.cells"},
    by_layer=balance_by_layer,
    overview=overview,
)
