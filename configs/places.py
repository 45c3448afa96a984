"""Where a run's folders lie, as its manifests remember it: a run can be moved."""

import os
from pathlib import Path

from .schema import Paths

LAYOUT = {
    "corpus": "corpus",
    "dataset": "dataset",
    "model": "model",
    "checkpoints": "checkpoints",
    "metrics": "metrics.jsonl",
    "imported": "imported",
    "exported": "exported",
    "routing": "routing",
    "report": "report",
}  # field of `paths` → its name inside the run's folder


def read_places(paths: Paths) -> dict[str, str]:
    """Returns the folders that lie outside their place in the run: field of `paths` → place.

    A place below `paths.runs` is relative to the run's folder, any other absolute.
    """
    run, runs = (Path(os.path.abspath(folder)) for folder in (paths.run, paths.runs))
    places = {}
    for name, home in LAYOUT.items():
        folder = Path(os.path.abspath(getattr(paths, name)))
        if folder != run / home:
            near = folder.is_relative_to(runs)
            places[name] = os.path.relpath(folder, run) if near else str(folder)
    return places


def place_in(run: Path, place: str) -> Path:
    """Returns the folder that a remembered place means for a run that now lies in `run`."""
    return Path(os.path.normpath(run / place))
