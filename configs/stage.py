"""The contract that every stage keeps: skip when unchanged, write aside, rename when complete."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .definition import Stage, StageRun, later
from .errors import UserError
from .folders import Aside, recover, written_aside
from .manifest import (
    FILE_NAME,
    Earlier,
    Manifest,
    digest,
    hash_file,
    hash_folder,
    package_versions,
)
from .ownership import MARK
from .places import read_places
from .progress import console
from .results import (
    changed_file,
    files_beside,
    is_kept,
    is_result_of,
    read_finished,
    refuse_beside,
    refuse_other_result,
)
from .schema import Config
from .upstream import Sources, input_folders, locked, read_sources
from .verification import note_hashes
from .whole_files import write_whole

__all__ = ["Stage", "StageRun", "execute", "later"]


def execute(
    stage: Stage, config: Config, command: str, upstream: Mapping[str, Earlier] | None = None
) -> Manifest:
    """Runs a stage, or skips it when its folder already holds this very result.

    Args:
        stage: what to run.
        config: the run's config.
        command: the command line, for the manifest and for whoever waits.
        upstream: settings of the stages before it, which the manifest keeps.

    Raises:
        UserError: an upstream folder is missing, damaged or of another chain of results, the
            output folder holds something else, or it cannot be written.
    """
    target = _real(getattr(config.paths, stage.output))
    with input_folders(stage, config, command), locked(target, command):
        recover(target)
        sources = read_sources(stage, config)
        refuse_other_result(stage, target)
        finished = read_finished(target)
        same = finished is not None and is_result_of(finished, stage, config, sources.hashes)
        if finished is not None and same and not config.force:
            if (changed := changed_file(stage, config, target, finished)) is None:
                console.print(f"{stage.name}: up to date in {target} (force=true redoes it)")
                return finished
            console.print(f"{stage.name}: {changed} has changed since it was written; redoing")
        beside = files_beside(stage, config)
        refuse_beside(config, beside, finished)
        with written_aside(target, f"paths.{stage.output}", beside.values()) as aside:
            manifest = _work(stage, config, command, sources, aside, beside, upstream or {})
            if read_sources(stage, config) != sources:
                raise UserError(
                    f"{stage.name}: what it reads was changed by another command meanwhile, so "
                    f"nothing was written; run `moescope {stage.name}` again"
                )
            aside.keeps_old = is_kept(stage, config, finished, manifest)
        note_hashes(target, manifest.files)
    console.print(f"{stage.name}: wrote {target} in {manifest.elapsed_s:,.1f} s")
    return manifest


def _work(
    stage: Stage,
    config: Config,
    command: str,
    sources: Sources,
    aside: Aside,
    beside: Mapping[str, Path],
    upstream: Mapping[str, Earlier],
) -> Manifest:
    """Lets the stage write aside and adds its manifest."""
    started_at, clock = datetime.now(UTC), time.monotonic()
    written = {name: aside.beside[path] for name, path in beside.items()}
    counts = stage.run(StageRun(config, aside.folder, sources.manifests, written))
    files = {name: value for name, value in hash_folder(aside.folder).items() if name != MARK}
    settings = stage.settings(config)
    manifest = Manifest(
        stage=stage.name,
        config=settings,
        side=stage.side_settings(config),
        config_hash=digest(settings),
        inputs=dict(sources.hashes),
        fingerprint=digest(files),
        files=files,
        beside={name: hash_file(path) for name, path in written.items() if path.exists()},
        places=read_places(config.paths),
        upstream=dict(upstream),
        seed=config.seed,
        versions=dict(package_versions()),
        counts=dict(counts),
        started_at=started_at.isoformat(timespec="seconds"),
        elapsed_s=round(time.monotonic() - clock, 3),
        command=command,
    ).sealed()
    write_whole(aside.folder / FILE_NAME, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _real(target: Path) -> Path:
    """Follows a link that stands in the place of the folder: what it leads to is replaced."""
    return target.resolve() if target.is_symlink() else target
