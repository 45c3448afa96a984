"""Decides whether a model is recorded whole or layer by layer, and what the latter leaves out."""

import torch
from transformers import AutoConfig

from ...configs.errors import UserError
from ...configs.progress import console
from ...configs.schema import Config
from ...configs.schema_report import Route
from ..checkpoints.free_memory import GB, free_memory, weights_in_memory
from ..checkpoints.layered_weights import LayeredWeights, local_folder
from ..checkpoints.load_checkpoint import LOADING_ERRORS
from ..checkpoints.weight_files import weight_files
from .processes import Recorders

SHARE = 0.8  # of the free memory that weights may take; batches come on top


def is_layer_by_layer(settings: Route, path: str, device: torch.device) -> bool:
    """Whether a checkpoint's weights are above `route.memory`, or do not fit into what is free.

    Raises:
        UserError: `route.memory` beside another way to load the model, or for a model of our own.
    """
    memory = settings.memory
    others = ("device_map", "quantization", "adapter")
    set_ones = [name for name in others if getattr(settings, name) is not None]
    if set_ones:
        if memory is not None:
            other = set_ones[0]
            raise UserError(
                f"route.memory={memory.human_readable(decimal=True)}: layer by layer "
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
    if memory is not None:
        raise UserError(
            f"{path}: route.memory is for checkpoints from elsewhere; a model of our own is "
            "recorded whole, so leave it out"
        )
    return False


def _refuse_several(path: str) -> None:
    if Recorders.started():
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


def check_room(weights: LayeredWeights, settings: Route, window: int) -> None:
    """Checks one layer, what is outside of the layers, and a batch against the memory.

    Args:
        weights: of the model.
        settings: the `route` section.
        window: longest window, in tokens.

    Raises:
        UserError: they would not fit; names their sizes and what makes them smaller.
    """
    sizes, limit = weights.sizes, settings.memory or free_memory(weights.device)
    positions = settings.batch_size * window
    need, batch = sizes.by_layer(positions), positions * sizes.per_position
    if need > limit:
        raise UserError(
            f"route.memory={limit / GB:.3g}GB: layer by layer needs about {need / GB:.3g} GB: "
            f"embeddings and head {sizes.outside / GB:.3g}, one layer while it is read "
            f"{sizes.one_layer / GB:.3g}, a batch {batch / GB:.3g}; lower "
            f"route.batch_size={settings.batch_size} or raise route.memory"
        )
