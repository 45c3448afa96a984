"""One statement of the verdict, and the phrases that its sentences share."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from .text import listing

Tone = Literal["finding", "none", "fact", "warning"]


@dataclass(frozen=True)
class Sentence:
    """One statement of the verdict.

    Attributes:
        subject: what it is about ("topic", "experts", "masked", "load", "vocabulary", "model",
            "corpus").
        tone: a finding, no evidence, a plain fact, or a warning.
        claim: the answer in one sentence.
        evidence: numbers with n, unit and baseline.
    """

    subject: str
    tone: Tone
    claim: str
    evidence: str


def layer_names(frame: pd.DataFrame) -> str:
    """Lists the layers of a frame's rows, e.g. "layers 0, 2 and 3"."""
    names = [str(layer) for layer in frame["layer"]]
    return f"layer{'s' if len(names) > 1 else ''} {listing(names)}"


def capital(text: str) -> str:
    """Starts a sentence."""
    return text[:1].upper() + text[1:]
