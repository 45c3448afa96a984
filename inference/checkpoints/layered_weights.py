"""A checkpoint whose decoder layers are in memory one at a time.

The model is built without weights. What is outside of the layers (embeddings, norm, head) is read
at once, a layer when it is asked for. The conversion of names and shapes is transformers' own, so
that each weight is what `from_pretrained` makes of it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.modeling_utils import str_to_torch_dtype as DTYPES
from transformers.utils.logging import disable_progress_bar

from ...configs.allocator import return_freed_memory
from ...configs.errors import UserError
from ..recording.capture import find_experts
from .layer_sizes import LayerSizes
from .load_checkpoint import LOADING_ERRORS, auto_class, read_config
from .weight_files import weight_files
from .weight_report import check_quantization, check_report

OUTSIDE = -1  # the part of a model that is not in a layer


class LayeredWeights:
    """A model without its layers' weights, and the files to read them from.

    Attributes:
        network: the model; what is outside of the layers is in memory after `read_outside`.
        files: its weights on disk.
        layers: its decoder layers, in order.
        sizes: what they take in memory.
        bytes_read: of weights, so far.
    """

    def __init__(self, path: str, device: torch.device, dtype: str | None = None) -> None:
        """Builds the model on the meta device and compares its weights with the files' by name.

        Raises:
            UserError: a checkpoint that cannot be read layer by layer, or that does not fit.
        """
        self.path, self.device, self.bytes_read = path, device, 0
        self.files = weight_files(local_folder(path))
        self.network = build_without_weights(path, dtype)
        check_quantization(path, self.network.config, self.files)
        self._layers_name, self.layers = find_layers(self.network)
        self.sizes = LayerSizes.of(self.network, self.layers)
        mapping = get_model_conversion_mapping(self.network)
        self._config = LoadStateDictConfig(
            dtype=self.network.dtype,
            dtype_plan=self.network._get_dtype_plan(self.network.dtype),
            weight_mapping=mapping,  # type: ignore[arg-type]
            device_map={"": device},
        )
        self._shapes = self._read_shapes()
        self._keys = self._by_layer(mapping)
        self._check()
        self._held: int | None = None

    def read_outside(self) -> None:
        """Reads what is outside of the layers, which stays in memory."""
        self._read(OUTSIDE)
        self.network.tie_weights()
        self.network.eval()

    def hold(self, number: int) -> None:
        """Has a layer's weights in memory, and those of no other layer."""
        if number != self._held:
            self.release()
            self._read(number)
            self._held = number

    def release(self) -> None:
        """Takes the layer that is held out of memory."""
        if self._held is not None:
            _drop(self.layers[self._held])
            self._held = None
            return_freed_memory()

    def size_on_disk(self, number: int) -> int:
        """Returns the bytes that reading a layer takes."""
        return sum(self._shapes[key].nbytes for key in self._keys.get(number, {}))

    def _read_shapes(self) -> dict[str, Tensor]:
        """Returns every stored weight on the meta device."""
        shapes = {}
        for file in self.files:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118  (no mapping)
                    part = opened.get_slice(key)
                    dtype = DTYPES.get(part.get_dtype())
                    if dtype is None:
                        raise UserError(
                            f"{self.path}: {key} is stored as {part.get_dtype()}, a quantised "
                            "format; layer by layer reads plain weights only"
                        )
                    shapes[key] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
        return shapes

    def _by_layer(self, mapping: list[Any]) -> dict[int, dict[str, Path]]:
        """Layer → stored name → its file, by the names that the weights have in the model."""
        renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
        converters = [each for each in mapping if isinstance(each, WeightConverter)]
        meta, prefix = self.network.state_dict(), self.network.base_model_prefix
        inside = re.compile(rf"{re.escape(self._layers_name)}\.(\d+)\.")
        found: dict[int, dict[str, Path]] = {}
        for file in self.files:
            with safe_open(file, "pt") as opened:
                names = list(opened.keys())
            for key in names:
                target = key
                if key not in meta:
                    target, _ = rename_source_key(key, renamings, converters, prefix, meta)
                layer = inside.match(target)
                found.setdefault(int(layer[1]) if layer else OUTSIDE, {})[key] = file
        return found

    def _check(self) -> None:
        """Loads the model on the meta device, which reads nothing, and looks at the report."""
        try:
            info = self._convert(self._shapes, "meta")
        except LOADING_ERRORS as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.path}: cannot read it layer by layer ({reason})") from error
        self.network.tie_weights(missing_keys=info.missing_keys, recompute_mapping=False)
        self.network._adjust_missing_and_unexpected_keys(info)
        check_report(self.path, self.network, info.to_dict(), self.files)

    def _read(self, number: int) -> None:
        keys = self._keys.get(number, {})
        with ExitStack() as opened:
            files = {
                # pread, not mmap: a converted weight's sources leave memory with the conversion
                path: opened.enter_context(safe_open(path, "pt", backend="pread"))
                for path in sorted(set(keys.values()))
            }
            self._convert({key: files[path].get_slice(key) for key, path in keys.items()})
        self.bytes_read += self.size_on_disk(number)
        return_freed_memory()

    def _convert(self, stored: Mapping[str, Any], device: str | None = None) -> Any:
        """Puts stored weights into the model, as transformers does."""
        config = self._config
        if device is not None:
            config = LoadStateDictConfig(**{**vars(config), "device_map": {"": device}})
        with one_weight_at_a_time():
            info, _ = convert_and_load_state_dict_in_model(self.network, dict(stored), config)
        if info.conversion_errors:
            name, said = next(iter(info.conversion_errors.items()))
            raise UserError(f"{self.path}: {name}: {' '.join(said.split())[:300]}")
        return info


def build_without_weights(
    path: str, dtype: str | None = None, *, dequantised: bool = False
) -> PreTrainedModel:
    """Builds a model whose parameters are on the meta device; its buffers are real.

    Args:
        path: of the checkpoint; only its config is read.
        dtype: of the weights; None = the config's.
        dequantised: whether a quantised checkpoint is built as if it were not.

    Raises:
        UserError: no config that transformers knows, or a quantised checkpoint.
    """
    disable_progress_bar()
    try:
        config = read_config(path)
        if dequantised and hasattr(config, "quantization_config"):
            del config.quantization_config
        if getattr(config, "quantization_config", None):
            method = config.quantization_config.get("quant_method", "some method")
            raise UserError(
                f"{path}: is quantised ({method}); layer by layer reads plain weights only. Load "
                "it whole (route.memory=null), or spread it with route.device_map=auto"
            )
        kept = torch.float32 if config.dtype is None else config.dtype
        precision = kept if dtype in (None, "auto") else getattr(torch, dtype)
        with init_empty_weights(include_buffers=False):
            network = auto_class(config).from_config(
                config, dtype=precision, trust_remote_code=False
            )
    except UserError:
        raise
    except LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: cannot build this model ({reason})") from error
    return network.eval()


def local_folder(path: str) -> Path:
    """Returns the checkpoint's folder; one from the hub is downloaded first."""
    if Path(path).is_dir():
        return Path(path)
    return Path(
        snapshot_download(path, allow_patterns=["*.json", "*.safetensors"], ignore_patterns=["*/*"])
    )


def find_layers(network: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Finds the list of layers that holds all experts, and its name.

    Raises:
        UserError: a dense model, or experts in several stacks.
    """
    names = {name for name, module in network.named_modules() if isinstance(module, nn.ModuleList)}
    experts = set(find_experts(network).values())
    stacks = {
        next((n for n in sorted(names, key=len) if name.startswith(f"{n}.")), "")
        for name, module in network.named_modules()
        if module in experts
    }
    if len(stacks) != 1 or stacks == {""}:
        raise UserError(
            f"{type(network).__name__}: has {len(stacks) or 'no'} stacks of layers with experts; "
            "layer by layer reads a model with one"
        )
    name = stacks.pop()
    layers = network.get_submodule(name)
    assert isinstance(layers, nn.ModuleList)
    return name, layers


def _drop(layer: nn.Module) -> None:
    """Takes a layer's weights out of memory."""
    for module in layer.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                empty = torch.empty_like(weight, device="meta")
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)


@contextmanager
def one_weight_at_a_time() -> Iterator[None]:
    """Lets transformers convert weights one after the other, not all at once in threads."""
    name, before = "HF_DEACTIVATE_ASYNC_LOAD", os.environ.get("HF_DEACTIVATE_ASYNC_LOAD")
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
