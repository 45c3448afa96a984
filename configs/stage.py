"""The contract that every stage keeps: skip when unchanged, write aside, rename when complete."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from filelock import FileLock

from .errors import UserError
from .manifest import FILE_NAME, Manifest, digest, hash_folder, package_versions, read_manifest
from .progress import console
from .schema import Config
from .whole_files import write_whole


@dataclass(frozen=True)
class StageRun:
    """What a stage's function gets: the config, its upstream manifests, and where to write."""

    config: Config
    output_dir: Path  # a temporary folder; becomes the stage's folder when the function returns
    inputs: Mapping[str, Manifest]  # upstream stage name → its manifest


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
        next_stage: what to type next.
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
    next_stage: str | None = None
    needs_experts: bool = False


def later(place: str) -> Callable[..., Any]:
    """Names a function, "package.module:function", that is imported when it is called.

    Most libraries here take seconds to import: help, mistakes and finished stages do not wait.
    """
    return partial(_call, place)


def _call(place: str, *arguments: Any) -> Any:
    return resolve_name(place)(*arguments)


def execute(stage: Stage, config: Config, command: str) -> Manifest:
    """Runs a stage, or skips it when its folder already holds this very result.

    Args:
        stage: what to run.
        config: the run's config.
        command: the command line, for the manifest.

    Raises:
        UserError: an upstream folder is missing or of another chain of results, the output folder
            holds something else, or it cannot be written.
    """
    target: Path = getattr(config.paths, stage.output)
    inputs = _upstream(stage, config)
    _refuse_mixed(stage, config, inputs)
    sections = config.model_dump(mode="json", include={*stage.sections, "seed"})
    input_hashes = {name: manifest.fingerprint for name, manifest in inputs.items()}
    input_hashes |= stage.external(config)
    config_hash = digest(sections)
    with _locked(target):
        _refuse_foreign(stage, target)
        finished = read_manifest(target)
        unchanged = (
            finished is not None
            and finished.stage == stage.name
            and finished.config_hash == config_hash
            and finished.inputs == input_hashes
        )
        if finished is not None and unchanged and not config.force:
            console.print(f"{stage.name}: up to date in {target} (force=true redoes it)")
            return finished
        started_at, clock = datetime.now(UTC), time.monotonic()
        with _written_aside(target) as output_dir:
            counts = stage.run(StageRun(config, output_dir, inputs))
            files = hash_folder(output_dir)
            manifest = Manifest(
                stage=stage.name,
                config=sections,
                config_hash=config_hash,
                inputs=input_hashes,
                fingerprint=digest(files),
                files=files,
                seed=config.seed,
                versions=dict(package_versions()),
                counts=dict(counts),
                started_at=started_at.isoformat(timespec="seconds"),
                elapsed_s=round(time.monotonic() - clock, 3),
                command=command,
            )
            write_whole(output_dir / FILE_NAME, manifest.model_dump_json(indent=1) + "\n")
    console.print(f"{stage.name}: wrote {target} in {manifest.elapsed_s:,.1f} s")
    return manifest


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


def _refuse_foreign(stage: Stage, target: Path) -> None:
    """Refuses to replace what the stage has not written."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    manifest = read_manifest(target) if target.is_dir() else None
    if manifest is not None and manifest.stage == stage.name:
        return
    holds = f"a result of {manifest.stage}" if manifest else "files that no stage wrote"
    raise UserError(
        f"{target}: holds {holds}, which {stage.name} would replace; choose another folder with "
        f"paths.{stage.output}"
    )


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keeps two processes from writing one folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / f".{target.name}.lock")
        lock.acquire()
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _written_aside(target: Path) -> Iterator[Path]:
    """Gives a temporary sibling of `target` that replaces it only if the block ends well."""
    partial = target.parent / f".{target.name}.partial"
    replaced = target.parent / f".{target.name}.replaced"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        shutil.rmtree(replaced, ignore_errors=True)
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except Exception as error:
        if isinstance(error, OSError) and str(error.filename or "").startswith(str(partial)):
            raise _unwritable(target, error) from error
        if os.strerror(errno.ENOSPC) in f"{error} {error.__cause__}":  # not every library's OSError
            raise _unwritable(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> UserError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    place = error.filename or target
    return UserError(
        f"{place}: cannot write ({reason}); make room or choose another place with paths.*"
    )
