"""What a stage's folder holds already: whose it is, whether it still serves, whether it is kept."""

import os
from collections.abc import Mapping
from pathlib import Path

from .definition import Stage
from .errors import UserError
from .manifest import FILE_NAME, Manifest, digest, hash_file, read_manifest, stage_of
from .ownership import is_json_lines, refuse_foreign
from .progress import console
from .schema import Config
from .verification import damaged


def changed_file(stage: Stage, config: Config, target: Path, manifest: Manifest) -> Path | None:
    """Finds a file of a finished result that is not as the stage wrote it; None = all are."""
    if name := damaged(target, manifest):
        return target / name
    for name in stage.beside:
        path: Path = getattr(config.paths, name)
        if name in manifest.beside and not has_hash(path, manifest.beside[name]):
            return path
    return None


def has_hash(path: Path, expected: str) -> bool:
    try:
        return hash_file(path) == expected
    except OSError:
        return False


def refuse_other_result(stage: Stage, target: Path) -> None:
    """Refuses to replace what the stage has not written."""
    writer = stage_of(target) if target.is_dir() else None
    if writer is not None and writer != stage.name:
        raise UserError(
            f"{target}: holds a result of {writer}, which {stage.name} would replace; choose "
            f"another folder with paths.{stage.output}"
        )
    empty = not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir()))
    refuse_foreign(target, f"paths.{stage.output}", ours=empty or writer == stage.name)


def files_beside(stage: Stage, config: Config) -> dict[str, Path]:
    return {name: getattr(config.paths, name) for name in stage.beside}


def refuse_beside(config: Config, beside: Mapping[str, Path], finished: Manifest | None) -> None:
    """Refuses to replace a single file that this stage has not published."""
    for name, path in beside.items():
        recorded = finished is not None and has_hash(path, finished.beside.get(name, ""))
        at_home = Path(os.path.abspath(path)).parent == Path(os.path.abspath(config.paths.run))
        ours = recorded or (at_home and is_json_lines(path, "split", "step"))
        ours = ours or not os.path.lexists(path) or (path.is_file() and not path.stat().st_size)
        refuse_foreign(path, f"paths.{name}", ours=ours)


def read_finished(target: Path) -> Manifest | None:
    """Reads what the stage wrote before; None where it did not, or what is there is of no use."""
    try:
        return read_manifest(target)
    except UserError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return None


def is_result_of(
    manifest: Manifest, stage: Stage, config: Config, inputs: Mapping[str, str]
) -> bool:
    """Whether a manifest is of the same stage, settings and inputs."""
    wanted = stage.name, digest(stage.settings(config)), inputs
    return (manifest.stage, manifest.config_hash, manifest.inputs) == wanted


def is_kept(stage: Stage, config: Config, old: Manifest | None, new: Manifest) -> bool:
    """Whether the result that is replaced is kept: this command would not give it again."""
    target: Path = getattr(config.paths, stage.output)
    if old is None or changed_file(stage, config, target, old) is not None:
        return True
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    if found - {*old.files, FILE_NAME}:
        return True  # somebody put a file there
    beside = files_beside(stage, config)
    if any(path.exists() and name not in old.beside for name, path in beside.items()):
        return True
    if old.fingerprint == new.fingerprint:
        return False
    if old.config_hash == new.config_hash:
        return stage.costly and old.inputs != new.inputs
    return True
