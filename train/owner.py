"""Whose checkpoints these are: which settings decide the weights, and which only the way there."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..configs.defaults import completed
from ..configs.manifest import Manifest
from ..configs.schema import Config
from ..configs.schema_train import MACHINE, WATCHING
from .fingerprints import start_fingerprint
from .sealed import DamageError, Sealed

OWNER_FILE = "run.json"
SECTIONS = {"model", "router", "balance", "train", "seed"}
HORIZON = ("max_steps", "epochs", "early_stopping")
# other fields below say what these decide
ELSEWHERE = (
    "start_from",
    "batch_size",
    "gradient_accumulation",
    "precision",
    "processes",
    "parallel",
)
NOT_DECIDING = {*WATCHING, *MACHINE, *HORIZON, *ELSEWHERE}


class Owner(Sealed):
    """The training that checkpoints belong to.

    Attributes:
        settings: what decides the weights, by section.
        inputs: fingerprints of the dataset, and of the checkpoint that training starts from.
        examples_per_step: batch size × accumulation × processes; how it is cut changes nothing.
        precision: what training computes in, whatever `auto` would choose on another machine.
        total_steps: where training ends and the learning-rate schedule, too.
        early_stopping: `train.early_stopping`.
        eval_examples: `train.eval_examples`; losses of different examples do not compare.
        aim_run: hash of the Aim run.
    """

    settings: dict[str, Any]
    inputs: dict[str, str]
    examples_per_step: int
    precision: Literal["fp32", "bf16"]
    total_steps: int
    early_stopping: int | None = None
    eval_examples: int | None = None
    aim_run: str | None = None

    def differences(self, wanted: "Owner") -> list[str]:
        """Says which of these settings `wanted` has not, e.g. "train.learning_rate was 0.002"."""
        mine, others = dict(self._deciding()), dict(wanted._deciding())
        names = [name for name in mine | others if mine.get(name) != others.get(name)]
        return [f"{name} was {mine.get(name, 'unset')}" for name in names]

    def _deciding(self) -> Iterator[tuple[str, Any]]:
        aside = {f"train.{name}" for name in NOT_DECIDING}
        yield from (pair for pair in flat(completed(self.settings)) if pair[0] not in aside)
        yield "train.precision", self.precision
        yield "examples per step", self.examples_per_step
        for name, fingerprint in self.inputs.items():
            yield f"the {name}", fingerprint[:8]


def owner_of(
    config: Config, dataset: Manifest, *, num_examples: int, precision: str, processes: int
) -> Owner:
    """Says whose checkpoints a command's are."""
    settings = config.model_dump(mode="json", include=SECTIONS)
    settings["train"] = {k: v for k, v in settings["train"].items() if k not in NOT_DECIDING}
    train = config.train
    return Owner(
        settings=settings,
        inputs={"dataset": dataset.fingerprint, **start_fingerprint(config)},
        examples_per_step=train.batch_size * train.gradient_accumulation * processes,
        precision=precision,  # type: ignore[arg-type]
        total_steps=total_steps(config, num_examples, processes),
        early_stopping=train.early_stopping,
        eval_examples=train.eval_examples,
    )


def aim_run_of(checkpoints: Path) -> str | None:
    """Returns the hash of a run's Aim run; None where there is none, or `run.json` is damaged."""
    try:
        return Owner.read(checkpoints / OWNER_FILE).aim_run
    except DamageError:
        return None


def total_steps(config: Config, num_examples: int, processes: int) -> int:
    """Returns the optimizer steps that a config asks for."""
    train = config.train
    if train.max_steps is not None:
        return train.max_steps
    batches = math.ceil(num_examples / (train.batch_size * processes))
    return math.ceil(train.epochs * math.ceil(batches / train.gradient_accumulation))


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Gives the settings of nested sections by their dotted names."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
