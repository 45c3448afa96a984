"""What lies in a run: the manifests of its stages, and the settings that they remember."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from .definition import Stage
from .errors import UserError
from .folders import replaced_by
from .manifest import Earlier, Manifest, read_manifest, read_settings, stage_of
from .places import LAYOUT, place_in
from .stages import PIPELINE, STAGES
from .typed import Typed

OWN = tuple(stage for stage in STAGES.values() if stage.output in LAYOUT)  # compare is of no run


def stages_before(stages: Iterable[Stage]) -> list[Stage]:
    """The stages of the pipeline that lead up to these and are not among them."""
    wanted: set[str] = set()
    queue = list(stages)
    while queue:
        stage = queue.pop()
        names = {*stage.inputs, *(("train",) if stage.name == "route" else ())}
        queue += [STAGES[name] for name in names - wanted]
        wanted |= names
    return [s for s in PIPELINE if s.name in wanted and s not in [*stages]]


def find_manifests(tree: DictConfig, typed: Typed) -> dict[str, Manifest]:
    """Reads the run's manifests, downstream first; what lies elsewhere is found through them.

    Changes `tree.paths` to where the folders are.
    """
    found: dict[str, Manifest] = {}
    for stage in reversed(OWN):
        folder = _folder(stage, tree)
        manifest = _read(stage, folder)
        if manifest is None:
            continue
        found[stage.name] = manifest
        if typed.experiment:
            continue
        at_home = folder.parent == Path(tree.paths.run)
        for name, home in LAYOUT.items():
            remembered = manifest.places.get(name)
            place = place_in(folder.parent, remembered or home)
            upstream = name in stage.inputs.values() or (at_home and remembered)
            absent = remembered or not Path(tree.paths[name]).exists()
            if upstream and absent and not typed.sets(f"paths.{name}") and place.exists():
                tree.paths[name] = str(place)
    return found


def _read(stage: Stage, folder: Path) -> Manifest | None:
    try:
        manifest = read_manifest(folder)
    except (UserError, OSError):
        return None  # the stage that meets it says so
    return manifest if manifest is not None and manifest.stage == stage.name else None


def earlier_settings(manifests: Mapping[str, Manifest], tree: DictConfig) -> dict[str, Earlier]:
    """Gathers what every stage was told.

    Of one whose folder is gone the next after it knows; a damaged manifest may hold it whole.
    """
    told: dict[str, Earlier] = {}
    for stage in reversed(OWN):
        if stage.name in manifests:
            told |= manifests[stage.name].upstream
    for stage in OWN:
        if stage.name in manifests:
            manifest = manifests[stage.name]
            told[stage.name] = Earlier(config=manifest.config, side=manifest.side)
            continue
        folder = _folder(stage, tree)
        if stage_of(folder) == stage.name and (settings := read_settings(folder)):
            told[stage.name] = settings
    return told


def refuse_lost(
    stages: Sequence[Stage], tree: DictConfig, typed: Typed, remembered: Mapping[str, Earlier]
) -> None:
    """Refuses to redo with defaults what was made with settings that can no longer be read."""
    for stage in stages:
        folder = _folder(stage, tree)
        named = typed.experiment or tree.force or typed.named & {*stage.sections}
        if named or stage not in OWN or stage.name in remembered or not folder.is_dir():
            continue
        try:
            read_manifest(folder)
        except UserError as error:
            raise UserError(
                f"{error}; the settings of {stage.name} are lost with it: type those that are not "
                "the defaults, and force=true"
            ) from error


def _folder(stage: Stage, tree: DictConfig) -> Path:
    """Where a stage's result lies: a killed command may have left it where it was moved."""
    folder = Path(tree.paths[stage.output])
    return folder if folder.exists() else replaced_by(folder)
