"""What a stage is: its name, what it reads and writes, and the function that does its work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from .manifest import Manifest
from .schema import Config


@dataclass(frozen=True)
class StageRun:
    """What a stage's function gets.

    Attributes:
        config: of the run.
        output_dir: a temporary folder; becomes the stage's folder when the function returns.
        inputs: upstream stage name → its manifest.
        beside: for every name in `Stage.beside`, the file to write; it gets its name in `paths`
            together with the folder.
    """

    config: Config
    output_dir: Path
    inputs: Mapping[str, Manifest]
    beside: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: the command, `moescope <name>`.
        summary: one line for the help.
        output: the field of `paths` that this stage writes.
        inputs: upstream stage name → the field of `paths` that it wrote.
        sections: the config sections that this stage reads; they and the inputs decide whether
            a finished result is still valid.
        run: does the work; returns the manifest's `counts`.
        optional_inputs: upstream stages that need not have run.
        side_sections: config sections that it reads but that cannot change its result.
        external: hashes of inputs outside the run (files, package versions).
        check: refuses settings that its work would stumble over; asked before any stage writes.
        folders: of other stages, read beside the inputs; those with a manifest are verified.
        beside: fields of `paths`: single files that are published with the folder.
        continues: whether changed settings, name → (old value, new value), of what the settings
            were cost no result: the stage goes on from where it was.
        costly: whether its result took long and is kept whenever another takes its place.
        next_stage: what to type next.
        plan: lines that forecast what it will take (`--plan`); None = it has no forecast.
        needs_experts: a pipeline leaves it out for a dense model.
    """

    name: str
    summary: str
    output: str
    inputs: Mapping[str, str]
    sections: tuple[str, ...]
    run: Callable[[StageRun], Mapping[str, Any]]
    optional_inputs: tuple[str, ...] = ()
    side_sections: tuple[str, ...] = ()
    external: Callable[[Config], Mapping[str, str]] = field(default=lambda config: {})
    check: Callable[[Config], None] = field(default=lambda config: None)
    folders: Callable[[Config], Sequence[Path]] = field(default=lambda config: ())
    beside: tuple[str, ...] = ()
    continues: Callable[[Mapping[str, tuple[Any, Any]], Mapping[str, Any]], bool] = field(
        default=lambda changes, before: False
    )
    costly: bool = False
    next_stage: str | None = None
    plan: Callable[[Config], Iterable[str]] | None = None
    needs_experts: bool = False

    def settings(self, config: Config) -> dict[str, Any]:
        """The part of a config that decides the result, as the manifest keeps it."""
        return config.model_dump(mode="json", include={*self.sections, "seed"})

    def side_settings(self, config: Config) -> dict[str, Any]:
        """The sections that the stage reads and that cannot change its result."""
        return config.model_dump(mode="json", include=set(self.side_sections))


def later(place: str) -> Callable[..., Any]:
    """Names a function, "package.module:function", that is imported when it is called.

    Most libraries here take seconds to import: help, mistakes and finished stages do not wait.
    """
    return partial(_call, place)


def _call(place: str, *arguments: Any) -> Any:
    return resolve_name(place)(*arguments)
