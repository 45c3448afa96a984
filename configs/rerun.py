"""`moescope rerun NAME`: the pipeline of a run that exists, with what it remembers."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import UserError, nearest
from .hydra_run import divide, refuse_unknown, run_hydra
from .manifest import read_manifest, stage_of
from .places import LAYOUT
from .stages import PIPELINE


def rerun_pipeline(
    arguments: Sequence[str], program: str, explain: Callable[[Exception], str]
) -> None:
    """Runs the stages of the pipeline that serve the run; the finished ones are up to date.

    Args:
        arguments: the run's name or folder, flags and overrides.
        program: what stands before them.
        explain: puts an error into one line.

    Raises:
        UserError: there is no such run, or a mistake in the overrides.
    """
    flags, words = divide(arguments)
    refuse_unknown(flags)
    if not words or "=" in words[0].partition(",")[0]:
        raise UserError("rerun: name the run first: moescope rerun NAME [KEY=VALUE ...]")
    folder, *overrides = words
    runs = next((w.partition("=")[2] for w in overrides if w.startswith("paths.runs=")), "runs")
    run = find_run(folder, Path(runs))
    names = [f"name={quoted(run.name)}"]
    if run.parent != Path("runs"):
        names.append(f"paths.runs={quoted(str(run.parent))}")
    rest = [word for word in overrides if not word.startswith(("name=", "paths.runs="))]
    stages = [stage for stage in PIPELINE if stage.name != "train" or _trains(run)]
    run_hydra(stages, [*flags, *names, *rest], program.replace("NAME", folder), explain)


def _trains(run: Path) -> bool:
    """Whether a run has a train stage: not where it records a checkpoint of others."""
    model, routing = run / LAYOUT["model"], run / LAYOUT["routing"]
    if model.exists() or not routing.exists():
        return True
    manifest = read_manifest(routing)
    return manifest is not None and "train" in manifest.upstream


def quoted(text: str) -> str:
    """Writes a value so that Hydra takes it as it is."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def find_run(name: str, runs: Path) -> Path:
    """Finds a run's folder by its name or path.

    Raises:
        UserError: there is none; names the nearest.
    """
    for folder in (runs / name, Path(name)):
        if is_run(folder):
            return folder
    known = [path.name for path in runs.iterdir() if is_run(path)] if runs.is_dir() else []
    raise UserError(f"rerun: no run {name!r} in {runs}{nearest(name, known)}")


def is_run(folder: Path) -> bool:
    """Whether a stage has finished in a folder."""
    return any(stage_of(folder / home) is not None for home in LAYOUT.values())
