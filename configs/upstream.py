"""What a stage reads of other stages: found, locked, verified, and of one chain of results."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .definition import Stage
from .errors import UserError
from .folders import recover, unwritable
from .locks import reading, writing
from .manifest import FILE_NAME, Manifest, read_manifest
from .plugins import plugin_hashes
from .results import has_hash
from .schema import Config
from .verification import verify


@dataclass(frozen=True)
class Sources:
    """What a stage reads: the manifests upstream, and the hashes of all that decides its result."""

    manifests: Mapping[str, Manifest]
    hashes: Mapping[str, str]


def upstream_folders(stage: Stage, config: Config) -> list[Path]:
    """Lists the folders that a stage reads and another stage has written."""
    inputs = [getattr(config.paths, key) for key in stage.inputs.values()]
    return [*inputs, *(f for f in stage.folders(config) if (f / FILE_NAME).exists())]


@contextmanager
def input_folders(stage: Stage, config: Config, command: str) -> Iterator[None]:
    """Keeps the folders upstream from being replaced while the stage runs."""
    target = Path(os.path.abspath(getattr(config.paths, stage.output)))
    with ExitStack() as stack:
        for folder in upstream_folders(stage, config):
            if Path(os.path.abspath(folder)) == target:
                raise UserError(
                    f"paths.{stage.output}={target}: {stage.name} reads this folder; it cannot "
                    "write there, too"
                )
            if not folder.exists():  # perhaps a command was killed between two renames
                if not folder.parent.is_dir():
                    continue
                with locked(folder, command):
                    recover(folder)
            stack.enter_context(reading(folder, command))
        yield


def read_sources(stage: Stage, config: Config) -> Sources:
    """Reads and verifies what is upstream."""
    manifests = _upstream(stage, config)
    _refuse_mixed(stage, config, manifests)
    for name, manifest in manifests.items():
        verify(getattr(config.paths, stage.inputs[name]), manifest)
        _verify_beside(config, manifest)
    for folder in stage.folders(config):
        if (beside := read_manifest(folder)) is not None:
            verify(folder, beside)
    hashes = {name: manifest.fingerprint for name, manifest in manifests.items()}
    hashes |= plugin_hashes(stage.sections, config)
    return Sources(manifests, hashes | dict(stage.external(config)))


def _upstream(stage: Stage, config: Config) -> dict[str, Manifest]:
    manifests = {}
    for name, key in stage.inputs.items():
        folder: Path = getattr(config.paths, key)
        manifest = read_manifest(folder)
        if manifest is not None:
            manifests[name] = manifest
        elif name not in stage.optional_inputs:
            raise UserError(
                f"{folder}: no finished {name} stage there; run `moescope {name}` first"
            )
    return manifests


def _verify_beside(config: Config, manifest: Manifest) -> None:
    """Refuses a file that was published with a folder and has changed since."""
    for name, expected in manifest.beside.items():
        path: Path = getattr(config.paths, name)
        if path.exists() and not has_hash(path, expected):
            raise UserError(
                f"{path}: is not what `moescope {manifest.stage}` wrote (damaged, or of another "
                f"run: paths.{name}), so it is not used; run `moescope {manifest.stage}` again"
            )


def _refuse_mixed(stage: Stage, config: Config, inputs: Mapping[str, Manifest]) -> None:
    """Refuses inputs of which one was made from another result than the other now holds."""
    folders = {name: getattr(config.paths, key) for name, key in stage.inputs.items()}
    for name, manifest in inputs.items():
        for other in manifest.inputs.keys() & inputs.keys():
            if manifest.inputs[other] != inputs[other].fingerprint:
                raise UserError(
                    f"{folders[name]}: made from another result of {other} than {folders[other]} "
                    f"now holds; redo `moescope {name}`, or name the one that it was made from "
                    f"with paths.{stage.inputs[other]}"
                )


@contextmanager
def locked(target: Path, command: str) -> Iterator[None]:
    """Keeps other commands from using the folder that is written."""
    with ExitStack() as stack:
        try:
            stack.enter_context(writing(target, command))
        except OSError as error:
            raise unwritable(target, error) from error
        yield
