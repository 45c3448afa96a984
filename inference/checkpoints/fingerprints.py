"""Finds the checkpoint that a stage reads, and what identifies it; imports nothing heavy."""

from pathlib import Path

from ...configs.errors import UserError
from ...configs.manifest import digest, hash_file, read_manifest
from ...configs.schema import Config
from ...train.checkpoints import find_snapshots

ADAPTER = "adapter_config.json"


def checkpoint_fingerprint(path: str) -> str:
    """Identifies a checkpoint from elsewhere by its config and the size and time of its weights."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    config = folder / "config.json"
    weights = sorted(folder.glob("*.safetensors"))
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
    return digest([hash_file(config) if config.is_file() else None, states])


def recorded(config: Config) -> dict[str, str]:
    """Identifies what route reads besides the dataset: the model and the texts labelled by sense.

    Raises:
        UserError: the run's own model is asked for and not there.
    """
    path = config.route.senses
    senses = {"senses": hash_file(path)} if path is not None and path.is_file() else {}
    return recorded_model(config) | senses


def recorded_model(config: Config) -> dict[str, str]:
    """Identifies the model that is recorded; it may come from outside of the run.

    Raises:
        UserError: the run's own model is asked for and not there.
    """
    adapter = config.route.adapter
    applied = (
        {} if adapter is None else {"adapter": digest([*map(hash_file, adapter_files(adapter))])}
    )
    if config.route.model is not None:
        return {"model": checkpoint_fingerprint(config.route.model)} | applied
    manifest = read_manifest(config.paths.model)
    if manifest is None:
        raise UserError(
            f"{config.paths.model}: no finished train stage there; run `moescope train` first, "
            "or name a checkpoint with route.model"
        )
    snapshots = digest(list(recorded_snapshots(config)))
    return {"train": manifest.fingerprint, "snapshots": snapshots} | applied


def recorded_snapshots(config: Config) -> dict[int, Path]:
    """Finds the snapshots to compare: step → checkpoint; {} for a model from outside of the run."""
    manifest = read_manifest(config.paths.model)
    if not config.route.snapshots or config.route.model is not None or manifest is None:
        return {}
    return find_snapshots(config.paths.checkpoints, manifest)


def imported(config: Config) -> dict[str, str]:
    """Identifies the checkpoint to import."""
    return {"source": checkpoint_fingerprint(source_of(config))}


def source_of(config: Config) -> str:
    """Returns the checkpoint to import.

    Raises:
        UserError: none is named.
    """
    if config.checkpoint.source is None:
        raise UserError(
            "checkpoint.source: name the checkpoint to import, a folder or a hub name "
            "(moescope import checkpoint.source=FOLDER)"
        )
    return config.checkpoint.source


def exported(config: Config) -> dict[str, str]:
    """Identifies the checkpoint to export."""
    return {"model": checkpoint_fingerprint(exported_path(config))}


def exported_path(config: Config) -> str:
    """Returns the checkpoint to export: `export.model`, or what the run's train stage wrote.

    Raises:
        UserError: the run's own model is asked for and not there.
    """
    if config.export.model is None and not config.paths.model.is_dir():
        raise UserError(
            f"{config.paths.model}: no model there; run `moescope train` first, or name a "
            "checkpoint with export.model"
        )
    return config.export.model or str(config.paths.model)


def adapter_files(folder: Path) -> tuple[Path, Path]:
    """Returns an adapter's config and weights.

    Raises:
        UserError: one of them is not there.
    """
    config, weights = folder / ADAPTER, folder / "adapter_model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UserError(
                f"route.adapter={folder}: {file.name} is missing; name the folder of a PEFT "
                "adapter in safetensors"
            )
    return config, weights
