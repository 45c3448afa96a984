"""The chapters of a comparison of runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..html.page import ALL_LAYERS, Panel, Section
from ..html.records import rows
from ..html.text import visible
from .figures import (
    curves_figure,
    depth_figure,
    explained_figure,
    multiples_figure,
    similarity_figure,
)
from .measures import LAYER_COLUMNS
from .runs import ComparedRun
from .seeds import ALPHA, MEASURES
from .settings import Settings, setting_text

MAX_SETTINGS = 9  # small plots per figure
NOT_SWEPT = (
    *("tracking.", "paths.", "report.", "route.batch_size", "train.num_workers"),
    *("train.device", "train.attention", "train.gradient_checkpointing"),
)


@dataclass(frozen=True)
class Comparison:
    """Every number of a comparison; each frame's columns are told where it is made.

    Attributes:
        runs: what was read.
        settings: `settings.read_settings`.
        measures: `measures.run_measures`.
        seeds: `seeds.settings_against_seeds`.
        layers: `measures.layer_measures`.
        curves: `measures.curve_measures`.
        similarity: `measures.similarities`.
        matches: `measures.matched_experts`.
    """

    runs: Sequence[ComparedRun]
    settings: Settings
    measures: pd.DataFrame
    seeds: pd.DataFrame
    layers: pd.DataFrame
    curves: pd.DataFrame
    similarity: pd.DataFrame
    matches: pd.DataFrame

    @property
    def names(self) -> list[str]:
        """Names of the runs, in the order of their colours."""
        return [run.name for run in self.runs]


def comparison_sections(comparison: Comparison) -> list[Section]:
    """Builds the chapters after the table of runs; one without a figure is left out."""
    chapters = [
        _swept_section(comparison),
        _training_section(comparison),
        _topics_section(comparison),
        _similarity_section(comparison),
    ]
    return [chapter for chapter in chapters if chapter.panels] + [_methods_section(comparison)]


def _swept_section(comparison: Comparison) -> Section:
    settings, measures = comparison.settings, comparison.measures
    names = [name for name in settings.differing if not name.startswith(NOT_SWEPT)]
    varied = settings.frame[names[:MAX_SETTINGS]]
    measured = (
        (
            "validation_loss",
            "Validation loss by setting",
            "nats per label",
            "the other runs",
            "settings",
        ),
        ("topic_share", "Topic information by setting", "share of log2 T", "0, chance", ""),
        ("class_share", "Token class by setting", "share of entropy", "0, chance", ""),
        ("max_violation", "Imbalance by setting", "MaxVio", "0, perfect balance", ""),
    )
    panels = [_seeds_panel(comparison.seeds)] if len(comparison.seeds) else []
    panels += [
        Panel(
            f"by-setting-{column.replace('_', '-')}",
            title,
            "Points that stand at one place of the axis differ in another setting: look in the "
            "table before a trend is read off." + (LOSS_READING if "loss" in column else ""),
            f"n = {int(measures[column].notna().sum())} runs; {LAYER_CHOICE[column]}. Unit: "
            f"{unit}. Baseline: {chance}.",
            {ALL_LAYERS: multiples_figure(measures, varied, column, unit)},
            measures[["run", column]].merge(
                varied.map(setting_text).reset_index(), on="run", validate="one_to_one"
            ),
            subject=subject,
        )
        for column, title, unit, chance, subject in measured
        if names and measures[column].notna().any()
    ]
    return Section(
        "settings",
        "By setting",
        "What changes with each setting that differs between the runs.",
        panels,
    )


def _seeds_panel(seeds: pd.DataFrame) -> Panel:
    first = rows(seeds)[0]
    return Panel(
        "settings-against-seeds",
        "Settings against seeds",
        "A filled point is a measure that the settings move more than seeds do (family-wise over "
        "the measures); the grey bar is what chance gives one measure alone.",
        f"n = {first.runs} runs of {first.settings} settings, the most topical or least even layer "
        "of each. Unit: share of the variance between runs that lies between settings (η²). "
        f"Baseline: {'all' if first.is_exact else 'a draw of'} {first.permutations:,} ways to give "
        "the settings to the runs; p family-wise over the measures.",
        {ALL_LAYERS: explained_figure(seeds, MEASURES, ALPHA)},
        seeds,
        subject="seeds",
    )


LOSS_READING = " Losses are over the same labels only within one letter of the table."
LAYER_CHOICE = {
    "validation_loss": "whole validation split of each run",
    "topic_share": "the run's most topical layer",
    "class_share": "the run's most topical layer",
    "max_violation": "the run's least even layer",
}


def _training_section(comparison: Comparison) -> Section:
    curves = comparison.curves
    measured = (
        ("validation", "loss", "Validation loss", "nats per label", "quality"),
        ("train", "loss", "Training loss", "nats per label", ""),
        ("validation", "accuracy", "Validation accuracy", "share of labels", ""),
        ("train", "max_violation", "Imbalance during training", "MaxVio, least even layer", ""),
    )
    panels = []
    for split, metric, title, unit, subject in measured:
        own = curves[(curves.split == split) & (curves.metric == metric)]
        if own.empty:
            continue
        reading = "Lower is better" if metric != "accuracy" else "Higher is better"
        panels.append(
            Panel(
                f"{split}-{metric.replace('_', '-')}",
                title,
                f"{reading}; runs of other masks, windows or tokens are asked other questions.",
                f"n = {own.run.nunique()} runs. Unit: {unit}. Baseline: the other runs.",
                {ALL_LAYERS: curves_figure(own, comparison.names, unit)},
                own,
                subject=subject,
            )
        )
    return Section("training", "Training", "The runs on one axis.", panels)


def _topics_section(comparison: Comparison) -> Section:
    layers = comparison.layers
    interval = "topic_low", "topic_high"
    measured = (
        (
            "topic_share",
            "Topic information by layer",
            "share of log2 T",
            interval,
            "chance",
            "topic",
        ),
        (
            "class_share",
            "Token class by layer",
            "share of the routing's entropy",
            None,
            "chance",
            "form",
        ),
        (
            "token_share",
            "Token identity by layer",
            "share of the routing's entropy",
            None,
            "chance",
            "",
        ),
        ("max_violation", "Imbalance by layer", "MaxVio", None, "perfect balance", "load"),
        *(
            (column, f"{column.replace('_', ' ').capitalize()} by layer", column, None, "", "")
            for column in layers.columns
            if column not in LAYER_COLUMNS
        ),
    )
    panels = [
        Panel(
            f"layers-{column.replace('_', '-')}",
            title,
            "Lines far apart are settings that matter, if their intervals do not overlap."
            if limits
            else "Lines far apart are settings that matter, if seeds do not move them as much.",
            f"n = {layers[layers[column].notna()].run.nunique()} runs. Unit: {unit}"
            f"{'; bars: 95% intervals' if limits else ''}. "
            f"Baseline: {f'0, {chance}' if chance else 'the other runs'}.",
            {
                ALL_LAYERS: depth_figure(
                    layers,
                    comparison.names,
                    column,
                    unit,
                    interval=limits,
                    chance=(0, chance) if chance else None,
                )
            },
            layers,
            subject=subject,
        )
        for column, title, unit, limits, chance, subject in measured
        if layers[column].notna().any()
    ]
    return Section(
        "layers",
        "By layer",
        "Topic, form and balance in every layer of every run. Layers of models that differ in "
        "depth are other layers.",
        panels,
    )


def _similarity_section(comparison: Comparison) -> Section:
    frame = comparison.similarity
    panels = []
    if len(frame):
        names = [name for name in comparison.names if name in {*frame["first"], *frame["second"]}]
        panels.append(
            Panel(
                "similarity",
                "Routing similarity",
                "1: the experts of two runs take the same token types, whatever their numbers; "
                "in brackets what matching gives when types are shuffled.",
                f"{', '.join(f'Run {i}: {visible(name)}' for i, name in enumerate(names, 1))}. "
                f"n = {frame.types.min():,} to {frame.types.max():,} token types that two runs "
                "share, none with half of its tokens in one group. Unit: correlation of matched "
                "experts' shares of each type, freed of what groups do and weighted by frequency, "
                f"mean over experts. Baseline: {frame.permutations.iloc[0]} shuffles "
                "of types of like frequency, matched anew.",
                {
                    str(layer): similarity_figure(part, names)
                    for layer, part in frame.groupby("layer")
                },
                frame,
                subject="similarity",
            )
        )
    return Section(
        "similarity",
        "Do the runs route alike",
        "Expert numbers mean nothing across runs: experts are matched by the token types that they "
        "take, layer by layer.",
        panels,
    )


def _methods_section(comparison: Comparison) -> Section:
    notes = [
        (
            "Most topical layer",
            "The layer with the largest share of topic information of its run, of those where it "
            "is beyond chance, if any. The choice favours chance a little, alike for all runs of "
            "one depth.",
        ),
        (
            "Same labels",
            "Two losses are over the same labels when the runs read one dataset (equal "
            "fingerprints), and so one corpus, tokenizer, window and fixed masks.",
        ),
        (
            "Below token frequencies",
            "Cross-entropy of the validation labels under the training unigram distribution minus "
            "the validation loss: what a model knows beyond how frequent tokens are.",
        ),
        (
            "Nats per byte",
            "Loss times content tokens per byte of the validation text, for runs of different "
            "tokenizers. A masked model's is about masked tokens, not a code length.",
        ),
    ]
    listings = [
        (
            f"{run.name} · {stage} · {manifest.command} · result {manifest.fingerprint}",
            f"{run.folders[stage]}\nstarted {manifest.started_at}, {manifest.elapsed_s:,.1f} s\n"
            + "\n".join(f"{name} {version}" for name, version in manifest.versions.items()),
        )
        for run in comparison.runs
        for stage, manifest in run.manifests.items()
    ]
    return Section(
        "methods",
        "Methods",
        "Each run's numbers come from its manifests, its report's summary and its routing store.",
        notes=notes,
        listings=[(visible(title, 200), text) for title, text in listings],
    )


def report_listings(comparison: Comparison) -> list[tuple[str, str]]:
    """What each run's own report says, (run, its claims)."""
    return [
        (run.name, "\n".join(str(sentence.get("claim", "")) for sentence in verdict))
        for run in comparison.runs
        if (verdict := run.summary.get("verdict"))
    ]


def runs_table(comparison: Comparison) -> pd.DataFrame:
    """Run × differing settings × measures: the table that opens the page, and runs.csv."""
    settings = comparison.settings.frame[list(comparison.settings.differing)].map(setting_text)
    return settings.reset_index().merge(comparison.measures, on="run", validate="one_to_one")
