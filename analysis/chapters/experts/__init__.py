"""Expert by expert: what the other chapters found of each."""

from ..chapter import Chapter
from .measures import measure_experts
from .section import experts_section

CHAPTER = Chapter(
    name="experts",
    measure=measure_experts,
    section=experts_section,
    uses={
        "load": "load.load",
        "cells": "topics.cells",
        "tokens": "vocabulary.tokens",
        "classes": "form.classes",
        "masked": "position.masked",
        "knockout": "knockout.knockout",
    },
)
