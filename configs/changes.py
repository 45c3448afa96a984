"""What a command would change of a run, said and asked for before anything is touched."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .definition import Stage
from .errors import UserError
from .manifest import Earlier, Manifest
from .memory import Settled
from .progress import console
from .schema import Config
from .stages import PIPELINE
from .terminal import printable

MOST_SHOWN = 6
READS = {"mask": ("corpus",), "train": ("mask",), "route": ("mask", "train")}
READS["report"] = ("corpus", "mask", "train", "route")


def announce(stages: Sequence[Stage], settled: Settled, *, consent: bool) -> None:
    """Says what changes against the run's settings and what that redoes, and asks where it costs.

    Args:
        stages: those of the command.
        settled: their configs, and what the run holds.
        consent: `--yes` or `force=true` was typed.

    Raises:
        UserError: results that took long would be replaced, and nobody said yes.
    """
    for note in settled.notes:
        _say(note)
    costs: list[str] = []
    for stage in stages:
        old, config = settled.remembered.get(stage.name), settled.configs[stage.name]
        if old is None or not (changes := changed_settings(stage, config, old)):
            continue
        _say(f"{stage.name}: {_listed(changes)}")
        if stage.continues({name: (before, now) for name, before, now in changes}, old.config):
            _say(f"{stage.name}: goes on from where it was, nothing is lost")
            continue
        costs += _costs(stage, config, settled.manifests)
    if costs and not consent:
        _ask(list(dict.fromkeys(costs)))


def changed_settings(stage: Stage, config: Config, old: Earlier) -> list[tuple[str, Any, Any]]:
    """Lists (setting, old value, new value) where they differ."""
    before, after = dict(_leaves(old.config)), dict(_leaves(stage.settings(config)))
    names = dict.fromkeys([*before, *after])
    return [(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _listed(changes: Sequence[tuple[str, Any, Any]]) -> str:
    # another preset's settings have nothing in common with these: its name says it
    shown = [c for c in changes if c[0].endswith(".name")] + [
        c for c in changes if not c[0].endswith(".name")
    ]
    words = [f"{name} {_shown(old)} → {_shown(new)}" for name, old, new in shown[:MOST_SHOWN]]
    more = len(shown) - MOST_SHOWN
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _costs(stage: Stage, config: Config, manifests: Mapping[str, Manifest]) -> list[str]:
    """Names the finished results that took long and would no longer be the run's."""
    outdated = {stage.name}
    for later in PIPELINE:
        if outdated & {*READS.get(later.name, ())}:
            outdated.add(later.name)
    steps = [s for s in (stage, *PIPELINE) if s.name in outdated and s.name in manifests]
    folders = [str(getattr(config.paths, s.output)) for s in steps if s.costly]
    own: Path = getattr(config.paths, stage.output)
    if not own.absolute().is_relative_to(config.paths.run.absolute()):
        folders.append(f"{own} (which lies outside this run)")
    return folders


def _ask(folders: list[str]) -> None:
    """Asks on a terminal; refuses without one."""
    what = f"this redoes what {', '.join(folders)} holds"
    hint = "give the new settings a run of their own with name=..., or say --yes"
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{what}; {hint}")
    _say(f"{what}; the earlier results are kept under a number. Go on? (yes or no)")
    try:
        answer = input().strip().lower()
    except EOFError:
        answer = ""
    if answer not in ("y", "yes"):
        raise UserError(f"nothing was changed; {hint}")


def _say(line: str) -> None:
    console.print(printable(line), markup=False, soft_wrap=True)
