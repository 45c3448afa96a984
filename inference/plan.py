"""`moescope route --plan`: what recording will read, hold and take on this machine."""

from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedModel

from ..configs.errors import UserError
from ..configs.manifest import read_manifest
from ..configs.schema import Config
from ..data_processors.examples import ExampleDataset
from .checkpoints.free_memory import GB, free_memory
from .checkpoints.layer_sizes import LayerSizes
from .checkpoints.layered_weights import build_without_weights, find_layers
from .checkpoints.load_checkpoint import weight_files
from .recording.capture import find_experts
from .recording.forecast import Work, forecast, in_words, operations_per_token, top_k_of
from .recording.larger_models import SHARE
from .recording.recording import main_device, model_path

PER = 1_000_000  # tokens to plan for where there is no dataset yet


def plan_route(config: Config) -> Iterator[str]:
    """Yields the lines of the plan. Needs the checkpoint's config; weights and dataset if there.

    Raises:
        UserError: no config there, or a dense model.
    """
    path, device = model_path(config), main_device()
    network = build_without_weights(path, config.route.dtype, dequantised=True)
    sizes = LayerSizes.of(network, find_layers(network)[1])
    files = _files(path)
    windows, tokens = _text(config)
    window = config.dataset.sequence_length
    limit = config.route.memory or int(SHARE * free_memory(device))
    work = Work(
        *(network, sizes, files, tokens, window, config.route.batch_size),
        by_layer=config.route.device_map is None and sizes.total > limit,
    )
    folder = next(each for each in (config.paths.run, *config.paths.run.parents) if each.is_dir())
    found = forecast(work, folder, device)
    way = "layer by layer" if work.by_layer else "whole"
    yield f"plan: {path} on this machine; a forecast from sizes and two rates measured now"
    yield f"  model    {_model(network, sizes, window)}"
    yield (
        f"  text     {tokens:,} tokens"
        + (f" in {windows:,} windows of the {config.route.split} split" if windows else _no_text())
        + f", {config.route.batch_size} windows of up to {window} tokens per pass"
    )
    yield (
        f"  way      {way}: the weights take {sizes.total / GB:.3g} GB, and may take "
        f"{limit / GB:.3g}"
    )
    positions = config.route.batch_size * window
    batch = positions * sizes.per_position
    parts = f"embeddings and head {sizes.outside / GB:.3g}, one layer {sizes.one_layer / GB:.3g}"
    held = parts if work.by_layer else f"weights {sizes.total / GB:.3g}"
    yield f"  memory   {found.memory / GB:.3g} GB: {held}, a batch {batch / GB:.3g}"
    where = "" if files else ", by the size of the model: no weights are there yet"
    rate = found.read / found.read_s / GB
    yield (
        f"  read     {found.read / GB:.3g} GB once at {rate:.2g} GB/s{where}: "
        f"{in_words(found.read_s)}"
    )
    if found.beside:
        yield f"  disk     {found.beside / GB:.3g} GB beside the store, for what layers hand on"
    speed = found.operations / found.compute_s / 1e9
    yield (
        f"  compute  {found.operations / 1e12:,.3g} TFLOP at {speed:,.0f} GFLOP/s: "
        f"{in_words(found.compute_s)}"
    )
    yield f"  time     about {in_words(found.elapsed_s)}"
    if work.by_layer and found.memory > limit:
        yield (
            f"  but      {found.memory / GB:.3g} GB is above {limit / GB:.3g}, so route would "
            f"refuse it: lower route.batch_size={config.route.batch_size} or raise route.memory"
        )


def _model(network: PreTrainedModel, sizes: LayerSizes, window: int) -> str:
    experts = find_experts(network)
    parameters = sizes.total / network.dtype.itemsize
    met = sum(operations_per_token(network, 0)) / 2
    count = next(iter(experts.values())).num_experts
    return (
        f"{network.config.model_type}, {len(sizes.layers)} layers, {len(experts)} of them with "
        f"{count} experts, {top_k_of(network)} per token; {parameters / 1e9:.3g} B parameters, "
        f"{met / 1e9:.3g} B of them per token, {str(network.dtype).removeprefix('torch.')}"
    )


def _files(path: str) -> list[Path]:
    """Returns the weight files that are there; a plan needs none."""
    try:
        return weight_files(Path(path))
    except UserError:
        return []


def _text(config: Config) -> tuple[int, int]:
    """Returns the windows and tokens of the split; (0, a million) where there is no dataset."""
    if read_manifest(config.paths.dataset) is None:
        return 0, PER
    lengths = ExampleDataset(config.paths.dataset, config.route.split).lengths
    return len(lengths), int(lengths.sum())


def _no_text() -> str:
    return " (no dataset yet, so per million)"
