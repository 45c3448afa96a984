"""What runs have in common and where they differ, and whose losses may be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import pandas as pd

from .runs import ComparedRun

STAGES = ("corpus", "mask", "train", "route", "report")
ABSENT = "–"


@dataclass(frozen=True)
class Settings:
    """The settings of all runs.

    Attributes:
        frame: a row per run, a column per setting of its stages ("train.epochs"); `ABSENT` where
            a run has no such setting. The index is the run's name.
        differing: the columns with more than one value, those of the corpus first.
    """

    frame: pd.DataFrame
    differing: tuple[str, ...]

    @property
    def identical(self) -> dict[str, str]:
        """Setting → the value that all runs share."""
        kept = [name for name in self.frame.columns if name not in self.differing]
        return {name: setting_text(self.frame[name].iloc[0]) for name in kept}


def read_settings(runs: Sequence[ComparedRun]) -> Settings:
    """Collects the settings from the manifests of every run's stages."""
    table = []
    for run in runs:
        row: dict[str, Any] = {}
        for stage in STAGES:
            if manifest := run.manifests.get(stage):
                row |= flat(manifest.config)
        row.pop("seed", None)
        row["seed"] = run.manifests["train"].seed if "train" in run.manifests else ABSENT
        table.append(row)
    names = list(dict.fromkeys(name for row in table for name in row))
    values = [[row.get(name, ABSENT) for name in names] for row in table]
    index = pd.Index([run.name for run in runs], name="run")
    frame = pd.DataFrame(values, index, names, dtype=object)
    differing = tuple(name for name in names if len({setting_text(x) for x in frame[name]}) > 1)
    return Settings(frame, differing)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as "section.key" → value."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values


def setting_text(value: Any) -> str:
    """Writes a setting as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def loss_groups(runs: Sequence[ComparedRun], stage: str) -> dict[str, str]:
    """Run → letter of the runs whose losses are means over the same labels of the same windows.

    Same corpus, tokenizer, window length and masks give the same dataset, letter for letter; any
    other loss is about other positions or other tokens. Without a dataset's fingerprint a run is
    compared with none.

    Args:
        runs: what to group.
        stage: whose loss: of "train" on the validation split, or of "route" on the probe split.
    """
    letters: dict[str, str] = {}
    groups = {}
    for run in runs:
        manifest = run.manifests.get(stage)
        dataset = manifest.inputs.get("mask") if manifest else None
        key = dataset or f"run {run.name}"
        letters.setdefault(key, _letter(len(letters)))
        groups[run.name] = letters[key]
    return groups


def _letter(index: int) -> str:
    """A, B, …, Z, A2, B2, …"""
    turn, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn + 1) if turn else "")


def tokenizers(runs: Sequence[ComparedRun]) -> dict[str, str]:
    """Run → hash of its tokenizer; "None" where unknown."""
    return {
        run.name: str(run.count("train", "tokenizer_hash") or run.count("mask", "tokenizer_hash"))
        for run in runs
    }


def corpora(runs: Sequence[ComparedRun]) -> dict[str, str]:
    """Run → fingerprint of the corpus it was trained on; "" where unknown."""
    return {
        run.name: run.manifests["mask"].inputs.get("corpus", "") if "mask" in run.manifests else ""
        for run in runs
    }
