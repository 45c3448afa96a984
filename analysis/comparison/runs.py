"""The runs that a comparison is about: found by name or pattern, read from their folders."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...configs.errors import UserError, nearest
from ...configs.manifest import Manifest, read_manifest
from ...inference.store.reader import RoutingStore
from ..data.curves import TrainingCurves, read_training_curves

FOLDERS = {
    "corpus": "corpus",
    "mask": "dataset",
    "train": "model",
    "route": "routing",
    "report": "report",
}  # stage → its folder inside a run
Results = dict[tuple[str, str], Path]  # (stage, fingerprint) → folder


@dataclass(frozen=True)
class ComparedRun:
    """What is left of a run; every part but the name may be missing.

    Attributes:
        name: `run_labels` of its folder.
        folder: where it lies.
        manifests: stage → its manifest; those of folders that the run shares with another are
            found by their fingerprint.
        folders: stage → the folder of that manifest.
        summary: the report's summary.json; {} without a report.
        curves: the training curves; None without metrics.jsonl.
        store: the routing store; None without one.
        troubles: what is missing or does not fit, a line each.
    """

    name: str
    folder: Path
    manifests: Mapping[str, Manifest]
    folders: Mapping[str, Path]
    summary: Mapping[str, Any]
    curves: TrainingCurves | None
    store: RoutingStore | None
    troubles: Sequence[str]

    def count(self, stage: str, name: str) -> Any:
        """Returns one of a stage's counts; None where the stage or the count is missing."""
        manifest = self.manifests.get(stage)
        return manifest.counts.get(name) if manifest else None


def find_runs(asked: Sequence[str], runs_dir: Path) -> tuple[list[Path], list[str]]:
    """Lists the folders of the runs that the user names.

    Args:
        asked: folders, names below `runs_dir`, or patterns of names; empty = all.
        runs_dir: the folder of all runs.

    Returns:
        The folders, each once, and a line for every run that a pattern met but that has no
        report to compare.

    Raises:
        UserError: a name without a run, a pattern that meets none, or fewer than two runs.
    """
    found: dict[Path, Path] = {}
    skipped = []
    for name in asked or ["*"]:
        if not is_pattern(name):
            folder = named_run(name, runs_dir)
            found[folder.resolve()] = folder
            continue
        met = [folder for folder in _subfolders(runs_dir, name) if is_run(folder)]
        if asked and not met:
            raise UserError(f"compare.runs: no run in {runs_dir} matches {name!r}")
        for folder in met:
            if (folder / FOLDERS["report"]).exists():
                found[folder.resolve()] = folder
            else:
                skipped.append(f"{folder.name}: left out, no report yet")
    if len(found) < 2:
        names = ", ".join(folder.name for folder in found.values()) or "none"
        raise UserError(
            f"compare.runs: a comparison needs two runs with a report; {runs_dir} gives {names}"
        )
    return list(found.values()), list(dict.fromkeys(skipped))


def is_pattern(name: str) -> bool:
    """Whether a name stands for several runs."""
    return any(character in name for character in "*?[")


def _subfolders(runs_dir: Path, pattern: str = "*") -> list[Path]:
    folders = (path for path in runs_dir.glob(pattern) if path.is_dir())
    return sorted((path for path in folders if not path.name.startswith(".")), key=_natural_order)


def _natural_order(path: Path) -> list[tuple[bool, float, str]]:
    """Sorts "length64" before "length128"."""
    parts = re.findall(r"[0-9]+(?:[.][0-9]+)?|[^0-9]+", path.name)
    return [(p[0].isdigit(), float(p) if p[0].isdigit() else 0.0, p) for p in parts]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a trained model, a routing store or a report."""
    return any(
        read_manifest(folder / FOLDERS[stage]) is not None for stage in ("train", "route", "report")
    )


def named_run(name: str, runs_dir: Path) -> Path:
    """Finds one run by its name or folder.

    Raises:
        UserError: there is none; names the nearest.
    """
    for folder in (runs_dir / name, Path(name)):
        if is_run(folder):
            return folder
    known = [path.name for path in _subfolders(runs_dir) if is_run(path)]
    raise UserError(f"compare.runs: no run {name!r} in {runs_dir}{nearest(name, known)}")


def read_runs(folders: Sequence[Path], runs_dir: Path) -> list[ComparedRun]:
    """Reads every run; a part that is missing or damaged becomes a line in `troubles`."""
    known = _known_results([*folders, *_subfolders(runs_dir)])
    labels = run_labels(folders)
    return [_read_run(folder, label, known) for folder, label in zip(folders, labels, strict=True)]


def run_labels(folders: Sequence[Path]) -> list[str]:
    """Names runs by their folders, less what all names begin with ("sweep-seed_1" → "seed_1").

    Folders of one name are told apart by their paths.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [folder.as_posix() for folder in folders]
    first, last = min(names), max(names)
    same = sum(first[: end + 1] == last[: end + 1] for end in range(min(len(first), len(last))))
    start = max(first.rfind(separator, 0, same) for separator in ",-/") + 1
    return [name[start:] for name in names] if all(name[start:] for name in names) else names


def _known_results(folders: Sequence[Path]) -> Results:
    """Finds every finished stage, so that folders which runs share are found."""
    known: Results = {}
    for folder in folders:
        for stage, name in FOLDERS.items():
            manifest = read_manifest(folder / name)
            if manifest is not None:
                known.setdefault((stage, manifest.fingerprint), folder / name)
    return known


def _read_run(folder: Path, name: str, known: Results) -> ComparedRun:
    troubles: list[str] = []
    folders = _stage_folders(folder, known, troubles)
    manifests = {stage: read_manifest(path) for stage, path in folders.items()}
    report = folders.get("report", folder / FOLDERS["report"])
    return ComparedRun(
        name=name,
        folder=folder,
        manifests={stage: manifest for stage, manifest in manifests.items() if manifest},
        folders=folders,
        summary=_read_summary(report, troubles),
        curves=_read_curves(folder / "metrics.jsonl", troubles),
        store=_read_store(folders.get("route"), troubles),
        troubles=troubles,
    )


def _stage_folders(folder: Path, known: Results, troubles: list[str]) -> dict[str, Path]:
    """Stage → folder: the run's own or, upstream, the one with the fingerprint that was read."""
    folders: dict[str, Path] = {}
    wanted: dict[str, str] = {}
    for stage in reversed(FOLDERS):
        path = folder / FOLDERS[stage]
        manifest = read_manifest(path)
        if stage in wanted and (manifest is None or manifest.fingerprint != wanted[stage]):
            key = stage, wanted[stage]
            if manifest is not None and key not in known:
                troubles.append(f"its {stage} stage ran again since: rerun what follows it")
            path = known.get(key, path)
            manifest = read_manifest(path)
        if manifest is None:
            continue
        folders[stage] = path
        wanted |= {name: value for name, value in manifest.inputs.items() if name in FOLDERS}
    return folders


def _read_store(folder: Path | None, troubles: list[str]) -> RoutingStore | None:
    try:
        if folder is not None:
            return RoutingStore.open(folder)
        troubles.append("no routing store: its routing is compared with none")
    except UserError as error:
        troubles.append(str(error))
    return None


def _read_curves(path: Path, troubles: list[str]) -> TrainingCurves | None:
    try:
        curves = read_training_curves(path)
        if curves is None:
            troubles.append("no metrics.jsonl: its training curves are not shown")
    except UserError as error:
        troubles.append(str(error))
        return None
    return curves


def _read_summary(report: Path, troubles: list[str]) -> dict[str, Any]:
    path = report / "summary.json"
    if not report.exists():
        troubles.append("no report: its topic information is not shown")
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary["layers"], list):
            raise ValueError("layers")
    except (OSError, ValueError, KeyError, TypeError):
        troubles.append(f"{path}: damaged; rerun `moescope report`")
        return {}
    return dict(summary)
