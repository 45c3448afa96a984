"""The chapter on training: losses, balance, router and capacity of each layer over the steps."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ...data.curves import TrainingCurves
from ...data.design import Design
from ...html.page import (
    ALL_LAYERS,
    MODEL,
    Panel,
    Section,
)
from ...html.text import (
    count_range,
    number,
)
from .figures import balance_loss_figure, layer_curve_figure, loss_figure, topic_loss_figure
from .measures import TrainingRecord as Record


def training_section(record: Record, design: Design) -> Section | None:
    """How the model got where it is; None where the curves are not known."""
    if record.curves is None:
        return None
    entropy = record.quality.unigram_entropy if record.quality else None
    return Section(
        "training",
        "Training",
        "How the loss fell, and what became of balance and of the routers meanwhile.",
        training_panels(record.curves, entropy, design),
        group=MODEL,
    )


def training_panels(
    curves: TrainingCurves, unigram_entropy: float | None, design: Design
) -> list[Panel]:
    """Draws what was logged.

    Args:
        curves: what was logged.
        unigram_entropy: nats per predicted token; None where it is not known.
        design: for the names of topics and the number of experts.
    """
    panels = [_loss_panel(curves, unigram_entropy)]
    if len(curves.topics):
        labels = curves.topics.labels
        panels.append(
            Panel(
                "topic-loss",
                "Validation loss by topic",
                "Topics that lie lower are easier to predict.",
                f"n = {count_range(labels.min(), labels.max())} predicted tokens per topic of the "
                f"validation split, at each of {curves.topics.step.nunique()} points. Unit: nats "
                "per predicted token. Baseline: the other topics.",
                {ALL_LAYERS: topic_loss_figure(curves.topics, design.topics)},
                curves.topics.assign(perplexity=np.exp(curves.topics["loss"])),
                by_topic=True,
            )
        )
    own = curves.curves[curves.curves.metric.str.startswith("balance/")]
    if len(own):
        panels.append(
            Panel(
                "balance-losses",
                "Balance losses",
                "Each before its weight; Switch and GShard losses are 1 at perfect balance.",
                f"n = {_sizes(curves, own, 'train')}. Unit: the loss itself. Baseline: its value "
                "at perfect balance.",
                {ALL_LAYERS: balance_loss_figure(curves.curves)},
                own,
            )
        )
    return panels + layer_panels(curves, design.num_experts)


def _loss_panel(curves: TrainingCurves, unigram_entropy: float | None) -> Panel:
    own = curves.curves[curves.curves.metric == "loss"]
    sizes = [_sizes(curves, own, split) for split in own.split.unique()]
    baseline = "Baseline: the unigram entropy." if unigram_entropy is not None else ""
    return Panel(
        "loss",
        "Loss",
        "The distance below the dashed line is what the model knows beyond how frequent tokens "
        "are.",
        f"n = {'; '.join(sizes)}. Unit: nats per predicted token, without balance losses. "
        f"{baseline}",
        {ALL_LAYERS: loss_figure(curves.curves, unigram_entropy)},
        curves.curves,
        subject="model",
    )


@dataclass(frozen=True)
class LayerCurve:
    """A quantity of each layer over training.

    Attributes:
        metric: its name in `TrainingCurves.layers`.
        name: of the figure.
        title: what it shows.
        reading: how to read it.
        unit: of the axis.
        baseline: in words.
        splits: which split it is drawn for: the first that it was logged for.
        only_above_zero: not drawn where it is 0 throughout.
        subject: of the sentences that send a reader there.
    """

    metric: str
    name: str
    title: str
    reading: str
    unit: str
    baseline: str
    splits: tuple[str, ...] = ("validation", "train")
    only_above_zero: bool = False
    subject: str = ""


LAYER_CURVES = (
    LayerCurve(
        "max_violation",
        "balance-curve",
        "Balance during training",
        "A line that stays high is a layer whose router favours few experts. All real tokens "
        "count here, masked and special ones too, so that it ends apart from “Balance by layer”, "
        "which counts untouched tokens of the probe.",
        "MaxVio",
        "0 at perfect balance",
    ),
    LayerCurve(
        "router_entropy",
        "entropy-curve",
        "Router entropy during training",
        "Falling lines are routers that become sure of their choice.",
        "nats",
        "the dashed line, a router that does not choose",
    ),
    LayerCurve(
        "dead_experts",
        "dead-curve",
        "Dead experts during training",
        "A line that stays above 0 is a layer with experts that no token chose.",
        "experts",
        "0",
        only_above_zero=True,
    ),
    LayerCurve(
        "drop_rate",
        "drop-curve",
        "Choices dropped during training",
        "The share of choices that met a full expert: those tokens passed it by.",
        "share of choices",
        "0, room for all",
        splits=("train", "validation"),  # capacity may be limited in training alone
        only_above_zero=True,
        subject="dropped",
    ),
)


def layer_panels(curves: TrainingCurves, num_experts: int) -> list[Panel]:
    """Draws each of `LAYER_CURVES` that was logged."""
    panels = []
    for curve in LAYER_CURVES:
        table = curves.layers[curves.layers.metric == curve.metric]
        told = table[table.value > 0] if curve.only_above_zero else table
        split = next((split for split in curve.splits if (told.split == split).any()), None)
        if split is None:
            continue
        own = table[table.split == split]
        level = None
        if curve.metric == "router_entropy":
            level = np.log(num_experts), f"ln {num_experts} = {number(np.log(num_experts))} nats"
        view = layer_curve_figure(own, curve.unit, level, in_percent=curve.metric == "drop_rate")
        panels.append(
            Panel(
                curve.name,
                curve.title,
                curve.reading,
                f"n = {_sizes(curves, own, split, 'real')}. Unit: {curve.unit}. Baseline: "
                f"{curve.baseline}.",
                {ALL_LAYERS: view},
                table,
                subject=curve.subject,
            )
        )
    return panels


def _sizes(
    curves: TrainingCurves,
    own: pd.DataFrame,
    split: str,
    counted: Literal["predicted", "real"] = "predicted",
) -> str:
    """Says how much text is behind the points of one split, and which of its tokens count."""
    rows = own[own.split == split]
    points = rows.step.nunique()
    if split == "train":
        return f"{int(rows.tokens.max()):,} training tokens in {points} points"
    told = f"{points} points on the validation split"
    labels = curves.topics.groupby("step").labels.sum()
    if labels.empty:
        return told
    predicted = count_range(labels.min(), labels.max())
    if counted == "real":
        return f"{told}, all real tokens of each ({predicted} of them predicted)"
    return f"{told}, {predicted} predicted tokens each"
