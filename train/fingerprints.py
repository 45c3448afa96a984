"""What decides a model besides its config and dataset, and its weights alone; light to import."""

from collections.abc import Mapping
from typing import Any

from ..configs.errors import UserError
from ..configs.manifest import digest, read_manifest
from ..configs.schema import Config


def start_fingerprint(config: Config) -> dict[str, str]:
    """Identifies the checkpoint to start from; {} without one.

    Raises:
        UserError: not a folder that the import or train stage wrote.
    """
    folder = config.train.start_from
    if folder is None:
        return {}
    manifest = read_manifest(folder)
    if manifest is None or manifest.stage not in ("import", "train"):
        raise UserError(
            f"train.start_from={folder}: no finished import or train stage there; "
            "run `moescope import` first"
        )
    return {"start": manifest.fingerprint}


def weights_hash(sections: Mapping[str, Any]) -> str:
    """Hashes what decides the weights: the train stage's config without the number of workers."""
    train = {name: value for name, value in sections["train"].items() if name != "num_workers"}
    return digest({**sections, "train": train})
