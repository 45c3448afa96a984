"""Loads a checkpoint, ours or others', and checks that it fits the dataset."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from ... import model  # noqa: F401  (registers our classes with transformers)
from ...configs.cli import is_out_of_memory
from ...configs.errors import UserError
from ...data_processors.tokenizers import tokenizer_hash
from .loading import Loading, package_line

# a package, a GPU, a file, a setting or the memory that is missing
LOADING_ERRORS = (
    *(ImportError, OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError),
    SafetensorError,
)
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_model(path: str, device: torch.device, loading: Loading | None = None) -> PreTrainedModel:
    """Loads a masked or causal language model for inference; no code of the checkpoint is run.

    Args:
        path: its folder or hub name.
        device: where it goes, unless `loading` says more.
        loading: precision, devices and quantisation; None = the checkpoint's own, on `device`.

    Raises:
        UserError: nothing there, a damaged or incomplete checkpoint, or one that transformers
            does not know by itself.
    """
    weight_files(Path(path))
    loading = loading or Loading()
    arguments = loading.arguments()
    disable_progress_bar()  # the stage has its own
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        network, report = auto_class(config).from_pretrained(
            path,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **arguments,
        )
    except LOADING_ERRORS as error:
        raise UserError(f"{path}: {_reason(error, loading)}") from error
    check_report(path, report)
    return (network if loading.places_modules else network.to(device)).eval()


def auto_class(config: PreTrainedConfig) -> Any:
    """Returns the Auto class that makes the config's language model."""
    architectures = config.architectures or [""]
    masked = architectures[0].endswith("ForMaskedLM")
    return AutoModelForMaskedLM if masked else AutoModelForCausalLM


def check_report(path: str, report: Mapping[str, Any]) -> None:
    """Compares the weights of a checkpoint with those of its model.

    Raises:
        UserError: the model has weights that the checkpoint lacks.
    """
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(
            f"{path}: the checkpoint lacks {len(missing)} of the model's weights, "
            f"{missing[0]} first; save or download it again"
        )


def _reason(error: Exception, loading: Loading) -> str:
    """Says in one line why a checkpoint could not be loaded."""
    if is_out_of_memory(error):
        return (
            "its weights do not fit into memory; `moescope route` reads them layer by layer with "
            "route.memory=8GB, or spreads them with route.device_map=auto"
        )
    if isinstance(error, ImportError) or loading.quantization is not None:
        return f"cannot load this checkpoint ({package_line(error, loading.method)})"
    return f"cannot load this checkpoint ({' '.join(str(error).split())[:300]})"


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """Loads the fast tokenizer of a checkpoint.

    Raises:
        UserError: it has none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no usable tokenizer beside the weights") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{path}: its tokenizer has no fast version, which is needed here")
    return tokenizer


def check_fits(
    network: PreTrainedModel, path: str, dataset: Path, counts: Mapping[str, Any]
) -> None:
    """Checks that a checkpoint reads the dataset's token ids as they were meant.

    Args:
        network: the model.
        path: its checkpoint, with its tokenizer.
        dataset: the dataset's folder.
        counts: the `counts` of the dataset's manifest.

    Raises:
        UserError: another tokenizer or a smaller vocabulary.
    """
    known = network.config.get_text_config().vocab_size
    if known < counts["vocab_size"]:
        raise UserError(
            f"{path}: its vocabulary has {known} types, {dataset} uses {counts['vocab_size']}; "
            "train on this dataset, or mask it with the checkpoint's tokenizer"
        )
    own = tokenizer_hash(load_tokenizer(path))
    if own != counts["tokenizer_hash"]:
        raise UserError(
            f"{path}: its tokenizer ({own}) is not that of {dataset} "
            f"({counts['tokenizer_hash']}); train on this dataset, or mask it with "
            f"tokenizer=pretrained tokenizer.path={path}"
        )


def weight_files(folder: Path) -> list[Path]:
    """Opens every weight file of a local checkpoint; a truncated one shows in its header.

    Returns:
        The files; [] for a checkpoint of the hub.

    Raises:
        UserError: nothing there, or a file that is missing or damaged.
    """
    if not folder.is_dir():
        if not HUB_NAME.fullmatch(folder.as_posix()):
            raise UserError(f"{folder}: no such folder, and not a hub name (owner/name)")
        return []
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no checkpoint there (config.json is missing)")
    files = _announced(folder) or sorted(folder.glob("*.safetensors"))
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except FileNotFoundError as error:
            raise UserError(f"{path}: weight file is missing; copy the checkpoint again") from error
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged or truncated weight file ({error})") from error
    if not files:
        raise UserError(f"{folder}: no weights there (model.safetensors); pickles are not read")
    return files


def _announced(folder: Path) -> list[Path]:
    """Lists the shards that the checkpoint's index names; [] without an index."""
    index = folder / "model.safetensors.index.json"
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except FileNotFoundError:
        return []
    except (ValueError, KeyError) as error:
        raise UserError(f"{index}: damaged index of weight files") from error
    return [folder / name for name in sorted(set(shards))]
