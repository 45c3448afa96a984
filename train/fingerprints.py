"""What decides a model besides its config and dataset; light to import."""

from ..configs.errors import UserError
from ..configs.manifest import read_manifest
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
