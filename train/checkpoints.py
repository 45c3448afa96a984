"""The checkpoints of a run: whole or not there, checked before they are used, never lost.

The folder holds `run.json` (whose checkpoints these are), `metrics.jsonl` (the run so far),
`snapshots/` and the folders `checkpoint-<step>`: the last, the one before it and the best. Each
holds all that training needs to go on, the metrics up to it among it, and `checkpoint.json` with
the hash of every file. Nothing in it says where it lies: a run may be moved.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..configs.ownership import free_sibling, numbered, refuse_foreign, set_aside
from ..configs.progress import console
from ..configs.whole_files import sync_folder, write_whole
from .disk import writing_below
from .owner import OWNER_FILE, Owner
from .sealed import Contents, DamageError

FIELD = "paths.checkpoints"
METRICS_FILE = "metrics.jsonl"
SNAPSHOTS = "snapshots"
RECORD_FILE = "checkpoint.json"
KEPT = 2  # and the best


class Record(Contents):
    """What `checkpoint.json` says.

    Attributes:
        step: optimizer steps taken.
        loss: validation loss there, of `train.eval_examples` examples; None = not measured.
        best_step: the step with the lowest validation loss so far.
        ended: training ended here, for early stopping where it is below `owner.total_steps`.
        weights: hash of the model's weights.
        owner: a copy of `run.json`.
    """

    step: int
    loss: float | None
    best_step: int
    ended: bool
    weights: str
    owner: Owner

    def ends(self, owner: Owner) -> bool:
        """Whether nothing is left to train for an owner."""
        stopped = self.ended and self.step < self.owner.total_steps
        again = stopped and self.owner.early_stopping == owner.early_stopping
        return self.step >= owner.total_steps or again


class Checkpoint(NamedTuple):
    """A checkpoint that was found whole, and the best one as it stands now."""

    folder: Path
    record: Record
    best: Record


class CheckpointFolder:
    """The checkpoints of one run, and the metrics that lead up to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / METRICS_FILE
        self._owner: Owner | None = None

    # -- before training --------------------------------------------------------------------------

    def stored_owner(self) -> Owner | None:
        """Whose checkpoints are there; where `run.json` is damaged, by the newest checkpoint.

        Raises:
            UserError: the folder holds files of somebody else.
        """
        refuse_foreign_checkpoints(self.folder)
        path = self.folder / OWNER_FILE
        try:
            return Owner.read(path)
        except DamageError as damage:
            for checkpoint in reversed(self._steps()):
                try:
                    owner = Record.read(checkpoint / RECORD_FILE).owner
                except DamageError:
                    continue
                console.print(f"train: {damage}; restored from {checkpoint}", soft_wrap=True)
                return owner
        return None

    def open(self, owner: Owner, *, fresh: bool) -> tuple[Owner, Checkpoint | None]:
        """Claims the folder; returns its owner record and the checkpoint to go on from.

        Checkpoints of other settings are set aside, and those of these settings that were set
        aside earlier take their place; a line says so. With `fresh`, those of the same settings
        are removed.

        Raises:
            UserError: the folder holds files of somebody else, or no checkpoint in it is whole.
        """
        stored = self.stored_owner()
        with writing_below(self.folder.parent, FIELD):
            self._sweep()
            if stored is not None and (why := self._unfit(stored, owner)):
                self._set_aside(why)
                stored = None
            elif fresh:
                self._remove()
                stored = None
            if not fresh and not self._steps():
                stored = self._take_up(owner) or stored
            self.folder.mkdir(parents=True, exist_ok=True)
        found = None if stored is None else self._newest()
        aim_run = stored.aim_run if stored else None
        with writing_below(self.folder, FIELD):
            self.write_owner(owner.model_copy(update={"aim_run": aim_run}))
            before = found.folder / METRICS_FILE if found else None
            write_whole(self.metrics, before.read_bytes() if before else b"")
        assert self._owner is not None
        return self._owner, found

    def write_owner(self, owner: Owner) -> None:
        """Says whose checkpoints these are."""
        self._owner = owner
        owner.write(self.folder / OWNER_FILE)

    def records(self) -> list[dict[str, Any]]:
        """Returns the metric records of the run so far."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    # -- during training --------------------------------------------------------------------------

    def adopt(self, owner: Owner) -> None:
        """Takes over what process 0 has opened."""
        self._owner = owner

    @contextmanager
    def saving(self, step: int) -> Iterator[Path]:
        """Gives a folder to write the checkpoint of a step into; `finish` gives it its name.

        Process 0 makes and removes it; the others wait until it is there.
        """
        partial = self._hidden(step, "partial")
        from .processes import is_first, wait_for_all  # torch, which a finished stage does without

        if not is_first():
            wait_for_all()
            with writing_below(self.folder, FIELD):
                yield partial
            return
        with writing_below(self.folder, FIELD):
            try:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                wait_for_all()
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def finish(
        self,
        partial: Path,
        *,
        step: int,
        loss: float | None,
        best_step: int,
        ended: bool,
        weights: str,
    ) -> None:
        """Hashes a checkpoint, names it, and removes those that are not kept."""
        assert self._owner is not None
        shutil.copyfile(self.metrics, partial / METRICS_FILE)
        record = Record(
            step=step,
            loss=loss,
            best_step=best_step,
            ended=ended,
            weights=weights,
            owner=self._owner,
        )
        record.seal_folder(partial, RECORD_FILE)
        target = self._named(step)
        self._drop(target)
        partial.rename(target)
        sync_folder(self.folder)
        kept = {*[path for path in self._steps() if step_of(path) <= step][-KEPT:]}
        for path in {*self._steps()} - kept - {self._named(best_step)}:
            self._drop(path)

    def best(self, step: int) -> tuple[Path, Record]:
        """Returns the checkpoint of the best step.

        Raises:
            DamageError: it is not whole.
        """
        folder = self._named(step)
        return folder, read_checkpoint(folder)

    # -- what is there ----------------------------------------------------------------------------

    def _newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; says which newer ones are damaged."""
        damage: list[DamageError] = []
        for folder in reversed(self._steps()):
            try:
                record = read_checkpoint(folder)
            except DamageError as error:
                damage.append(error)
                continue
            for found in damage:
                console.print(f"train: {found}; going back to {folder.name}", soft_wrap=True)
            return Checkpoint(folder, record, self._best_before(record))
        if damage:
            raise UserError(
                f"{damage[0]}, and no earlier checkpoint is whole; force=true starts afresh"
            )
        return None

    def _best_before(self, newest: Record) -> Record:
        """The record of the best checkpoint; of the best of the others if somebody removed it."""
        best = self._named(newest.best_step)
        if newest.best_step == newest.step:
            return newest
        if best.is_dir():
            try:
                return read_checkpoint(best)
            except DamageError as error:
                raise UserError(
                    f"{error}, and it is the best so far; remove {best} to go on with the best "
                    "of the others, or start afresh with force=true"
                ) from error
        others = [newest]
        for path in self._steps():
            with suppress(DamageError):
                others.append(read_checkpoint(path))
        known = [record for record in others if record.step <= newest.step]
        record = min(known, key=lambda record: math.inf if record.loss is None else record.loss)
        console.print(
            f"train: {best}, the best so far, is gone; checkpoint-{record.step} takes its place",
            soft_wrap=True,
        )
        return record

    def _unfit(self, stored: Owner, wanted: Owner) -> str:
        """Why the checkpoints cannot serve a training; "" if they can, or there are none."""
        steps = [step_of(path) for path in self._steps()]
        if not steps and not any((self.folder / SNAPSHOTS).glob("step-*")):
            return ""
        if different := stored.differences(wanted):
            return "they are of other settings: " + ", ".join(different)
        if steps and min(steps) > wanted.total_steps:
            return f"they begin at step {min(steps):,}, after the last of {wanted.total_steps:,}"
        return ""

    def _steps(self) -> list[Path]:
        found = [path for path in self.folder.glob("checkpoint-*") if path.is_dir()]
        return sorted((path for path in found if step_of(path) >= 0), key=step_of)

    def _named(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def _hidden(self, step: int, state: str) -> Path:
        return self.folder / f".checkpoint-{step}.{state}"

    # -- what goes --------------------------------------------------------------------------------

    def _set_aside(self, why: str) -> None:
        aside = numbered(self.folder, free_sibling(self.folder))
        self.folder.rename(aside)
        console.print(f"train: checkpoints set aside as {aside}: {why}", soft_wrap=True)

    def _take_up(self, owner: Owner) -> Owner | None:
        """Puts back the newest checkpoints of these settings that were set aside."""
        for aside in set_aside(self.folder):
            folder = CheckpointFolder(aside)
            try:
                stored = Owner.read(aside / OWNER_FILE)
            except DamageError:
                continue
            if not folder._steps() or folder._unfit(stored, owner):
                continue
            self._remove()
            if self.folder.is_dir() and any(self.folder.iterdir()):
                return None  # somebody's files lie there
            if self.folder.is_dir():
                self.folder.rmdir()
            aside.rename(self.folder)
            console.print(f"train: checkpoints of these settings taken up from {aside}")
            return stored
        return None

    def _sweep(self) -> None:
        """Removes what an earlier process left half written or half removed."""
        for pattern in (".checkpoint-*.partial", ".checkpoint-*.removed"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        for name in (OWNER_FILE, METRICS_FILE):
            for path in self.folder.glob(f".{name}.*.partial"):
                path.unlink(missing_ok=True)

    def _remove(self) -> None:
        """Removes what training wrote, and nothing that lies beside it."""
        for path in [*self._steps(), *(self.folder / SNAPSHOTS).glob("step-*")]:
            self._drop(path)
        for name in (OWNER_FILE, METRICS_FILE):
            (self.folder / name).unlink(missing_ok=True)

    def _drop(self, folder: Path) -> None:
        """Removes a checkpoint in one step; what has no record is no checkpoint of ours."""
        if not folder.exists():
            return
        if not (folder / RECORD_FILE).is_file():
            folder.rename(numbered(folder, free_sibling(folder)))
            return
        removed = self._hidden(step_of(folder), "removed")
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def read_checkpoint(folder: Path) -> Record:
    """Reads the record of a checkpoint and compares every file with it.

    Raises:
        DamageError: a part is missing, cut short or altered.
    """
    record = Record.read(folder / RECORD_FILE)
    record.check(folder)
    return record


def step_of(checkpoint: Path) -> int:
    """Returns the optimizer step that a checkpoint folder's name gives; -1 for a stray name."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def find_snapshots(checkpoints: Path, model: Manifest) -> dict[int, Path]:
    """Finds the snapshots that led to a finished model: step → folder, in order.

    Args:
        checkpoints: the run's `checkpoints/`; it may belong to another, newer training by now.
        model: the manifest of `model/`.

    Returns:
        {} where there are none of this model's.

    Raises:
        DamageError: whose they are cannot be told.
    """
    places = {step_of(path): path for path in (checkpoints / SNAPSHOTS).glob("step-*")}
    found = {step: places[step] for step in sorted(places) if step < model.counts["steps"]}
    records = list(checkpoints.glob(f"checkpoint-*/{RECORD_FILE}")) if found else []
    damage = None
    for path in records:
        try:
            if Record.read(path).weights == model.counts["weights_hash"]:
                return found
        except DamageError as error:
            damage = error
    if damage is not None:
        raise DamageError(
            f"{damage}, so whose snapshots lie there is not known; route.snapshots=false leaves "
            "them out"
        )
    return {}


def check_snapshot(folder: Path) -> None:
    """Compares a snapshot's files with its record.

    Raises:
        DamageError: one is missing or altered.
    """
    try:
        Contents.read(folder / RECORD_FILE).check(folder)
    except DamageError as error:
        raise DamageError(
            f"{error}, so the snapshot is not used; route.snapshots=false leaves snapshots out, "
            "`moescope train force=true` makes them anew"
        ) from error


def refuse_foreign_checkpoints(folder: Path) -> None:
    """Refuses a folder of somebody else's in the place of the checkpoints."""
    refuse_foreign(folder, FIELD, ours=_is_ours(folder))


def _is_ours(folder: Path) -> bool:
    """Whether train wrote a folder, or nobody anything."""
    if not folder.is_dir():
        return not os.path.lexists(folder)
    names = [path.name for path in folder.iterdir()]
    if all(name.startswith(".") and name.endswith((".partial", ".removed")) for name in names):
        return True
    paths = [folder / OWNER_FILE, *folder.glob(f"checkpoint-*/{RECORD_FILE}")]
    return any(_is_sealed(path) for path in paths)


def _is_sealed(path: Path) -> bool:
    try:
        (Owner if path.name == OWNER_FILE else Record).read(path)
    except DamageError:
        return False
    return True
