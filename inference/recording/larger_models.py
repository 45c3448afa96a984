"""Decides whether a model is recorded whole or layer by layer, and what the latter leaves out."""

import torch
from transformers import AutoConfig

from ...configs.errors import UserError
from ...configs.progress import console
from ...configs.schema import Config
from ...configs.schema_report import Route
from ..checkpoints.free_memory import GB, free_memory, weights_in_memory
from ..checkpoints.layered_weights import OUTSIDE, LayeredWeights, local_folder
from ..checkpoints.load_checkpoint import LOADING_ERRORS, weight_files
from .processes import Processes

SHARE = 0.8  # of the free memory that weights may take; batches come on top


def is_layer_by_layer(settings: Route, path: str, device: torch.device) -> bool:
    """Whether a checkpoint's weights are above `route.memory`, or do not fit into what is free.

    Raises:
        UserError: `route.memory` beside another way to load the model, or for a model of our own.
    """
    asked = settings.memory is not None
    if settings.device_map is not None or settings.quantization is not None:
        if asked:
            other = "device_map" if settings.device_map is not None else "quantization"
            raise UserError(
                f"route.memory={settings.memory.human_readable(decimal=True)}: layer by layer "
                f"reads plain weights on one device; leave out route.memory or route.{other}"
            )
        return False
    limit = settings.memory if settings.memory is not None else SHARE * free_memory(device)
    try:
        files = weight_files(local_folder(path))
        dtype = None if settings.dtype in (None, "auto") else getattr(torch, settings.dtype)
        if weights_in_memory(files, dtype) <= limit:
            return False
        family = AutoConfig.from_pretrained(path, trust_remote_code=False).model_type
    except UserError:
        raise
    except LOADING_ERRORS:
        return False  # loading it whole says what is wrong
    if family != "moescope":
        _refuse_several(path)
        return True
    if asked:
        raise UserError(
            f"{path}: route.memory is for checkpoints from elsewhere; a model of our own is "
            "recorded whole, so leave it out"
        )
    return False


def _refuse_several(path: str) -> None:
    if Processes.started():
        raise UserError(
            f"{path}: layer by layer runs in one process; start `moescope route` without torchrun"
        )


def only_the_pass(config: Config) -> Config:
    """Leaves out what takes further passes, each of which would read all weights again.

    Raises:
        UserError: such a thing was asked for by name.
    """
    settings = config.route
    if settings.senses is not None:
        raise UserError(
            f"route.senses={settings.senses}: takes a further pass, which layer by layer does not "
            "make; record the senses with a smaller checkpoint, or leave them out"
        )
    if settings.knockout != "none":
        console.print(
            "route: no knock-outs layer by layer: each would read all weights once more "
            "(route.knockout=none silences this)"
        )
    return config.model_copy(update={"route": settings.model_copy(update={"knockout": "none"})})


def check_room(weights: LayeredWeights, settings: Route, positions: int) -> None:
    """Checks one layer, what is outside of the layers, and a batch against the memory.

    Raises:
        UserError: they would not fit; names their sizes and what makes them smaller.
    """
    limit = settings.memory or free_memory(weights.device)
    outside, layer = weights.size(OUTSIDE), largest_layer(weights)
    batch = batch_memory(weights, settings.batch_size * positions)
    if outside + layer + batch > limit:
        raise UserError(
            f"route.memory={limit / GB:.3g}GB: layer by layer needs about "
            f"{(outside + layer + batch) / GB:.3g} GB: embeddings and head {outside / GB:.3g}, one "
            f"layer while it is read {layer / GB:.3g}, a batch {batch / GB:.3g}; lower "
            f"route.batch_size={settings.batch_size} or raise route.memory"
        )


def largest_layer(weights: LayeredWeights) -> int:
    """Returns the bytes that the largest layer takes while it is read and converted."""
    sizes = [weights.size(number) for number in range(len(weights.layers))]
    number = sizes.index(max(sizes))
    return sizes[number] + weights.largest_weight(number)


def batch_memory(weights: LayeredWeights, positions: int) -> int:
    """Returns roughly the bytes of a batch: its scores, once more in float32, and activations."""
    config = weights.network.config.get_text_config()
    item = weights.network.dtype.itemsize
    scores = config.vocab_size * (item + 8)
    return positions * (scores + 16 * config.hidden_size * item)
