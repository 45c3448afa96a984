"""Loads a checkpoint, ours or others', and checks that it fits the dataset."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.logging import (
    disable_progress_bar,
    get_verbosity,
    set_verbosity,
    set_verbosity_error,
)

from ... import model  # noqa: F401  (registers our classes with transformers)
from ...configs.cli import is_out_of_memory
from ...configs.errors import UserError, nearest
from ...data_processors.prompt_tokenizer import same_tokenizer
from ...data_processors.tokenizers import tokenizer_hash
from .adapter import with_adapter
from .loading import Loading, one_line, package_line
from .weight_files import weight_files
from .weight_report import check_quantization, check_report

# a package, a GPU, a file, a setting or the memory that is missing
LOADING_ERRORS = (
    *(ImportError, OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError),
    *(SafetensorError, StrictDataclassError),
)
# in the order in which they are tried; all read tokens and score tokens
AUTO_CLASSES = (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
)
# an adapter beside the weights would be applied unasked; transformers looks for it here instead
NO_ADAPTER = {"subfolder": ".no-adapter"}


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
    files = weight_files(Path(path))
    loading = loading or Loading()
    arguments = loading.arguments()
    disable_progress_bar()  # the stage has its own
    config = read_config(path)
    check_quantization(path, config, files)
    try:
        with _quiet():  # its tables of weights are checked below, and refused in one line
            network, report = auto_class(config).from_pretrained(
                path,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                adapter_kwargs=dict(NO_ADAPTER),
                **arguments,
            )
    except LOADING_ERRORS as error:
        raise UserError(f"{path}: {_reason(error, loading)}") from error
    check_report(path, network, report, files)
    if loading.adapter is not None:
        network = with_adapter(network, loading.adapter)
    return (network if loading.places_modules else network.to(device)).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers' warnings back."""
    before = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(before)


def read_config(path: str) -> PreTrainedConfig:
    """Reads a checkpoint's config.json.

    Raises:
        UserError: damaged, of a model that transformers does not know, or one that needs code of
            its own, which is not run.
    """
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except LOADING_ERRORS as error:
        said = _said_config(Path(path))
        family = said.get("model_type")
        if "auto_map" in said and family not in CONFIG_MAPPING:
            raise UserError(
                f"{path}: a {family!r} model, which brings code of its own; no code of a "
                "checkpoint is run. Take a version in a family of transformers"
            ) from error
        if said and family not in CONFIG_MAPPING:
            raise UserError(
                f"{path}: config.json: model_type={family!r} is no family of transformers "
                f"{transformers.__version__}{nearest(str(family), list(CONFIG_MAPPING))}"
            ) from error
        raise UserError(f"{path}: config.json: {one_line(error)}") from error


def _said_config(folder: Path) -> dict[str, Any]:
    """Returns what config.json holds; {} where it cannot be read or is not here."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'}: not JSON ({one_line(error)})") from error
    if not isinstance(said, dict):
        raise UserError(f"{folder / 'config.json'}: holds no settings")
    return said


def auto_class(config: PreTrainedConfig) -> Any:
    """Returns the Auto class that makes the config's language model.

    It is the one that makes the class that the checkpoint was saved from, so that every weight has
    its place; else the first that knows the family.

    Raises:
        UserError: the family has no language model.
    """
    names = config.architectures or [""]
    known = [auto for auto in AUTO_CLASSES if type(config) in auto._model_mapping]
    for auto in known:
        made = auto._model_mapping[type(config)]
        classes = made if isinstance(made, tuple) else (made,)
        if names[0] in {each.__name__ for each in classes if each is not None}:
            return auto
    if not known:
        raise UserError(
            f"a {config.model_type!r} model ({names[0] or 'no architecture named'}) has no "
            "language-model head in transformers, so there is nothing to predict; name a masked, "
            "causal or encoder–decoder language model"
        )
    return known[0]


def _reason(error: Exception, loading: Loading) -> str:
    """Says in one line why a checkpoint could not be loaded."""
    if is_out_of_memory(error):
        return (
            "its weights do not fit into memory; `moescope route` reads them layer by layer with "
            "route.memory=8GB, or spreads them with route.device_map=auto"
        )
    if isinstance(error, ImportError) or loading.quantization is not None:
        return f"cannot load this checkpoint ({package_line(error, loading.method)})"
    return f"cannot load this checkpoint ({one_line(error)})"


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
    own = load_tokenizer(path)
    if not same_tokenizer(own, dataset, counts["tokenizer_hash"]):
        raise UserError(
            f"{path}: its tokenizer ({tokenizer_hash(own)}) is not that of {dataset} "
            f"({counts['tokenizer_hash']}); train on this dataset, or mask it with "
            f"tokenizer=pretrained tokenizer.path={path}"
        )
