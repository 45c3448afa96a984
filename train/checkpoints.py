"""Which checkpoint a run may resume from, and what was measured up to it.

The folder holds `run.json` (whose checkpoints these are), `metrics.jsonl` (the run so far) and
the Trainer's `checkpoint-<step>` folders: the last and the best.
"""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..configs.progress import console
from .fingerprints import weights_hash

OWNER_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
SNAPSHOTS = "snapshots"
STATE_FILE = "trainer_state.json"  # the Trainer writes it last: without it a save was cut short
ZIPPED = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
WEIGHTS_FILE = "model.safetensors"


class Owner(BaseModel):
    """Whose checkpoints these are."""

    config_hash: str
    dataset_fingerprint: str
    aim_run: str | None = None
    finished: bool = False

    def same_run(self, other: "Owner") -> bool:
        """Whether config and dataset agree."""
        mine = (self.config_hash, self.dataset_fingerprint)
        return mine == (other.config_hash, other.dataset_fingerprint)


class CheckpointFolder:
    """The checkpoints of one run, and the metrics that lead up to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / METRICS_FILE
        self.owner_path = folder / OWNER_FILE

    def open(self, owner: Owner, *, fresh: bool) -> tuple[Owner, Path | None]:
        """Claims the folder; returns its owner record and the checkpoint to resume from.

        Checkpoints of another config or dataset, and all of them with `fresh`, are discarded.

        Raises:
            UserError: the checkpoint to resume from is damaged.
        """
        stored = self._stored_owner()
        resumable = stored is not None and stored.same_run(owner) and not fresh
        checkpoint = self._newest() if resumable else None
        if checkpoint is None:
            if self._steps():
                reason = "force=true" if fresh else "they belong to another config or dataset"
                console.print(f"train: discarding the checkpoints in {self.folder} ({reason})")
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self.write_owner(owner)
            self.metrics.touch()
            return owner, None
        check_checkpoint(checkpoint)
        self._forget_after(step_of(checkpoint))
        assert stored is not None
        return stored, checkpoint

    def write_owner(self, owner: Owner) -> None:
        self.owner_path.write_text(owner.model_dump_json() + "\n", encoding="utf-8")

    def records(self) -> list[dict[str, Any]]:
        """Returns the metric records written so far; a line cut short ends them."""
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    def _stored_owner(self) -> Owner | None:
        try:
            return Owner.model_validate_json(self.owner_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError, UnicodeDecodeError):
            return None

    def _steps(self) -> list[Path]:
        found = [path for path in self.folder.glob("checkpoint-*") if path.is_dir()]
        return sorted(found, key=step_of)

    def _newest(self) -> Path | None:
        """The newest finished checkpoint; one whose saving was cut short is removed."""
        for path in reversed(self._steps()):
            if (path / STATE_FILE).is_file():
                return path
            shutil.rmtree(path, ignore_errors=True)
        return None

    def _forget_after(self, step: int) -> None:
        """Drops the metrics of steps that will be taken again."""
        try:
            kept = [record for record in self.records() if record["step"] <= step]
        except FileNotFoundError:
            kept = []
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        self.metrics.write_text(lines, encoding="utf-8")


def step_of(checkpoint: Path) -> int:
    """Returns the optimizer step that a checkpoint folder's name gives; -1 for a stray name."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def find_snapshots(checkpoints: Path, model: Manifest) -> dict[int, Path]:
    """Finds the snapshots that led to a finished model: step → folder, in order.

    Args:
        checkpoints: the run's `checkpoints/`; it may belong to another, newer training by now.
        model: the manifest of `model/`.

    Returns:
        {} where there are none of this model's.
    """
    try:
        owner = Owner.model_validate_json((checkpoints / OWNER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return {}
    if not owner.finished or owner.config_hash != weights_hash(model.config):
        return {}
    folders = {step_of(path): path for path in (checkpoints / SNAPSHOTS).glob("step-*")}
    return dict(sorted(folders.items()))


def check_checkpoint(checkpoint: Path) -> None:
    """Reads every part through its own checksum or header.

    Raises:
        UserError: a part is missing, cut short or altered.
    """
    for name in (WEIGHTS_FILE, *ZIPPED, STATE_FILE):
        path = checkpoint / name
        try:
            if name in ZIPPED:
                with zipfile.ZipFile(path) as archive:
                    broken = archive.testzip()
                if broken:
                    raise zipfile.BadZipFile(f"checksum of {broken}")
            elif name == WEIGHTS_FILE:
                with safe_open(path, framework="pt"):
                    pass
            else:
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, SafetensorError, zipfile.BadZipFile, ValueError) as error:
            reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
            raise UserError(
                f"{path}: {reason}, so training cannot resume; force=true starts afresh"
            ) from error
