"""The files of a checkpoint: what is there, what is missing, and what is there instead."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ...configs.errors import UserError
from .fingerprints import ADAPTER

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def weight_files(folder: Path) -> list[Path]:
    """Opens every weight file of a local checkpoint; a truncated one shows in its header.

    Returns:
        The files; [] for a checkpoint of the hub.

    Raises:
        UserError: nothing there, or a file that is missing or damaged.
    """
    if not folder.is_dir():
        if folder.suffix == ".gguf":
            raise UserError(f"{folder}: {_INSTEAD['gguf']}")
        if folder.is_file():
            raise UserError(f"{folder}: is a file; name the checkpoint's folder")
        if not HUB_NAME.fullmatch(folder.as_posix()):
            raise UserError(f"{folder}: no such folder, and not a hub name (owner/name)")
        return []
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: {_what_is_there(folder, 'no checkpoint', 'config.json')}")
    files = _announced(folder) or _own_weights(folder)
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except FileNotFoundError as error:
            raise UserError(f"{path}: weight file is missing; copy the checkpoint again") from error
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged or truncated weight file ({error})") from error
    if not files:
        raise UserError(f"{folder}: {_what_is_there(folder, 'no weights', 'model.safetensors')}")
    return files


_INSTEAD = {
    "adapter": "an adapter alone; name its base checkpoint with route.model, and this folder with "
    "route.adapter",
    "gguf": "GGUF, which inference engines read; name the checkpoint it was made from, in "
    "safetensors",
    "pickles": "only pickles, which can run code and are not read; where you trust them, load them "
    "with transformers and save_pretrained, which writes safetensors",
}


def _what_is_there(folder: Path, nothing: str, missing: str) -> str:
    """Says what a folder holds instead of a checkpoint."""
    if (folder / ADAPTER).is_file():
        return _INSTEAD["adapter"]
    if any(folder.glob("*.gguf")):
        return _INSTEAD["gguf"]
    if any(file for pattern in PICKLES for file in folder.glob(pattern)):
        return _INSTEAD["pickles"]
    return f"{nothing} there ({missing} is missing)"


def _own_weights(folder: Path) -> list[Path]:
    """Lists the weight files of a folder without an index; an adapter's are not the model's."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if not file.name.startswith("adapter_")]


def _announced(folder: Path) -> list[Path]:
    """Lists the shards that the checkpoint's index names; [] without an index."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():  # which transformers reads first
        return []
    shards: Any
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(shards))]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: damaged index of weight files") from error
