"""One statement of the verdict, and the phrases that its sentences share."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from .text import listing

LISTED_LAYERS = 4
Tone = Literal["finding", "none", "fact", "warning"]


@dataclass(frozen=True)
class Sentence:
    """One statement of the verdict.

    Attributes:
        subject: what it is about ("topic", "beyond vocabulary", "experts", "knock-out",
            "masked", "load", "dropped", "form", "vocabulary", "model", "corpus", "lengths",
            "overlap", "audit"); it decides the figure that a reader is sent to.
        tone: a finding, no evidence, a plain fact, or a warning.
        claim: the answer in one sentence.
        evidence: numbers with n, unit and baseline.
        layer: the layer that its figure is to show; None = any.
    """

    subject: str
    tone: Tone
    claim: str
    evidence: str
    layer: int | None = None


def layer_names(frame: pd.DataFrame) -> str:
    """Lists the layers of a frame's rows, e.g. "layers 0, 2 and 4–9"."""
    layers = sorted(int(layer) for layer in frame["layer"])
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    names: list[str] = []
    for run in runs:
        names += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run)
    return f"layer{'s' if len(layers) > 1 else ''} {listing(names)}"


def by_layer(items: list[str]) -> str:
    """Joins one item per layer; of many layers, only the first few."""
    more = len(items) - LISTED_LAYERS
    tail = f"; {more} more layers in the tables below" if more > 1 else ""
    return "; ".join(items[: LISTED_LAYERS if more > 1 else None]) + tail


def capital(text: str) -> str:
    """Starts a sentence."""
    return text[:1].upper() + text[1:]
