"""One pass of a model over a split, or over one shard of its chunks."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...configs.allocator import keep_few_kernels, keep_freed_memory
from ...configs.errors import UserError
from ...configs.manifest import Manifest
from ...configs.ownership import make_ours, remove_ours
from ...configs.progress import console, progress_bar
from ...configs.schema import Config
from ...data_processors.metadata_values import add_metadata_ids
from ..checkpoints.layered_weights import LayeredWeights
from ..checkpoints.load_checkpoint import check_fits, load_model
from ..checkpoints.loading import Loading, input_device
from .between_layers import BetweenLayers
from .capture import RoutingCapture
from .chunks import MIN_EXAMPLES, Chunk, iterate_chunks
from .forecast import Forecast, Work, forecast, summary
from .forward import Observer, predicts_next
from .larger_models import check_room, is_layer_by_layer, only_the_pass
from .layer_by_layer import LayerByLayer
from .memory import check_memory
from .processes import WHOLE, Shard
from .recorder import RoutingRecorder
from .split import Split, open_split
from .tables import TableSizes
from .token_classes import TOKEN_CLASSES


@dataclass(frozen=True)
class Recording:
    """A model, the split it runs over, and the hooks that record its routing."""

    config: Config
    network: PreTrainedModel
    capture: RoutingCapture
    observer: Observer
    split: Split
    sizes: TableSizes

    def new_recorder(self) -> RoutingRecorder:
        """Returns a recorder that holds nothing yet."""
        return RoutingRecorder(self.sizes, self.split.facts, self.observer.device)

    def prepare(self) -> None:
        """Runs a model larger than memory through all its layers; others need no preparation."""
        if isinstance(self.observer, LayerByLayer):
            layers = len(self.observer.weights.layers)
            tokens = int(self.split.examples.lengths.sum())
            console.print(f"route: layer by layer, {summary(self._forecast(tokens))}")
            with progress_bar("route", tokens * layers, "tokens x layers") as advance:
                self.observer.prepare(self._batches, advance)

    def _forecast(self, tokens: int) -> Forecast:
        assert isinstance(self.observer, LayerByLayer), "others are loaded already"
        weights, size = self.observer.weights, self.config.route.batch_size
        window = self.split.sequence_length
        work = Work(
            *(self.network, weights.sizes, weights.files, tokens, window, size), by_layer=True
        )
        return forecast(work, self.config.paths.dataset, weights.device)

    def _chunks(self) -> Iterator[Chunk]:
        size = max(MIN_EXAMPLES, 4 * self.config.route.batch_size)
        return iterate_chunks(self.split.folder, self.split.examples.lengths, size)

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        for chunk in self._chunks():
            for _, batch in self.split.batches(chunk.examples, self.config.route.batch_size):
                yield batch

    def run_chunks(
        self,
        recorder: RoutingRecorder,
        chunk_done: Callable[[int, pa.Table], None],
        *,
        after: int = 0,
        shard: Shard = WHOLE,
    ) -> int:
        """Records the chunks of a shard; returns the number of its last chunk, 0 if it has none.

        Args:
            recorder: adds the chunks up.
            chunk_done: is called with each chunk's number, from 1, and its documents.
            after: the last chunk that an earlier pass has done; later ones are recorded.
            shard: which chunks to record.
        """
        split, size = self.split, self.config.route.batch_size
        lengths, last = split.examples.lengths, 0
        with progress_bar(f"route {split.name}", int(lengths.sum()), "tokens") as advance:
            for number, chunk in enumerate(self._chunks(), start=1):
                if shard.has(number):
                    last = number
                if not shard.has(number) or number <= after:
                    advance(int(lengths[chunk.examples].sum()))
                    continue
                recorder.begin_chunk(chunk.first_document, chunk.last_document)
                for rows, batch in split.batches(chunk.examples, size):
                    recorder.add(batch, rows, self.observer(batch))
                    advance(int(lengths[rows].sum()))
                chunk_done(number, recorder.end_chunk())
        return last


@contextmanager
def open_recording(
    config: Config, dataset: Manifest, between: BetweenLayers | None = None
) -> Iterator[Recording]:
    """Loads the model and opens the split; the model is recorded until the block ends.

    Args:
        config: of the run.
        dataset: the manifest of its dataset.
        between: where a model larger than memory keeps what its layers hand on.

    Raises:
        UserError: a checkpoint that does not fit the dataset or has no experts, a split that is
            not there, packed documents that the model would mix, or tables that do not fit
            `route.max_memory`.
    """
    path, device = model_path(config), main_device()
    by_layer = is_layer_by_layer(config.route, path, device)
    with ExitStack() as opened:
        if by_layer:
            keep_few_kernels()
            weights = LayeredWeights(path, device, config.route.dtype)
            network: PreTrainedModel = weights.network
            config = only_the_pass(config)
        else:
            offload_dir = opened.enter_context(_offload_folder(config))
            keep_freed_memory()
            network = load_model(path, device, Loading.of_route(config.route, offload_dir))
        capture = opened.enter_context(RoutingCapture(network))
        check_fits(network, path, config.paths.dataset, dataset.counts)
        split = open_split(
            config,
            dataset,
            network.config.get_text_config().vocab_size,
            is_causal=predicts_next(network),
        )
        add_metadata_ids(split.examples, network.config)
        if by_layer:
            assert between is not None, "one process has room beside its store"
            observer: Observer = LayerByLayer(weights, capture, between)
            check_room(weights, config.route, split.sequence_length)
            weights.read_outside()
        else:
            observer = Observer(network, capture, input_device(network))
        _check_packing(observer, dataset)
        sizes = _table_sizes(config, split, observer)
        check_memory(config.route, sizes, split.sampled_tokens)
        yield Recording(config, network, capture, observer, split, sizes)


@contextmanager
def _offload_folder(config: Config) -> Iterator[Path | None]:
    """Makes room beside the store for modules that `route.device_map` puts on disk."""
    if config.route.device_map is None:
        yield None
        return
    target = config.paths.routing
    folder = target.with_name(f".{target.name}.offload")
    make_ours(folder, "paths.routing")
    try:
        yield folder
    finally:
        remove_ours(folder, "paths.routing")


def _check_packing(observer: Observer, dataset: Manifest) -> None:
    """Refuses packed examples for a model that cannot keep their documents apart."""
    settings = dataset.config["dataset"]
    kept_apart = settings["packing"] != "none" and not settings["attend_across"]
    if kept_apart and not observer.is_ours:
        raise UserError(
            f"{type(observer.network).__name__}: attends across packed documents; redo "
            "`moescope mask` with dataset.packing=none or dataset.attend_across=true"
        )


def model_path(config: Config) -> str:
    """Returns the checkpoint to record: `route.model`, or what the run's train stage wrote."""
    return config.route.model or str(config.paths.model)


def main_device() -> torch.device:
    """Returns this process' GPU; the CPU without one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _table_sizes(config: Config, split: Split, observer: Observer) -> TableSizes:
    num_slots = _slots_per_token(observer, split)
    return TableSizes(
        num_topics=len(split.topics),
        num_layers=len(observer.layers),
        num_experts=observer.num_experts,
        num_slots=num_slots,
        # where experts choose tokens, each token has a slot for every expert, most of them empty
        top_k=observer.network.config.num_experts_per_tok if observer.is_ours else num_slots,
        num_types=len(split.types.ids),
        num_classes=len(TOKEN_CLASSES),
        num_positions=min(config.route.position_bins, split.sequence_length),
        num_special=len(split.special_strings),
    )


def _slots_per_token(observer: Observer, split: Split) -> int:
    """Returns the slots of a token, as seen in one example."""
    _, batch = next(split.batches(np.arange(1), 1))
    return observer.num_slots(batch)
