"""The route stage: one pass over a split, every routing decision into the routing store."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from configs.allocator import keep_freed_memory
from configs.cli import main
from configs.errors import UserError
from configs.manifest import digest, read_manifest
from configs.progress import progress_bar
from configs.schema import Config
from configs.stage import Stage, StageRun
from train.snapshots import find_snapshots

from .capture import RoutingCapture
from .checkpoint import check_fits, checkpoint_fingerprint, load_model
from .chunks import MIN_EXAMPLES, iterate_chunks
from .forward import Observer
from .knockout import possible_knockout, write_knockouts
from .memory import check_memory
from .recorder import RoutingRecorder
from .saturation import write_saturation
from .split import Split, open_split
from .spool import Spool
from .store import FORMAT, KnockoutMode, StoreFacts
from .store_writer import StoreWriter
from .tables import TableSizes
from .token_classes import TOKEN_CLASSES
from .token_types import OTHER


def record_split(run: StageRun) -> dict[str, Any]:
    """Runs the model over the split and writes the routing store; returns the counts.

    Raises:
        UserError: a checkpoint that does not fit the dataset or has no experts, or a split that
            is not there.
    """
    keep_freed_memory()
    config, counts = run.config, run.inputs["mask"].counts
    path = model_path(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_model(path, device)
    with RoutingCapture(network) as capture:
        check_fits(network, path, config.paths.dataset, counts)
        split = open_split(config, counts, network.config.get_text_config().vocab_size)
        observer = Observer(network, capture, device)
        sizes = table_sizes(config, split, capture, _experts_per_token(observer, split))
        check_memory(config.route, sizes, split.sampled_tokens)
        spool = _open_spool(run)
        started = time.monotonic()
        with StoreWriter(
            run.output_dir,
            num_layers=sizes.num_layers,
            num_experts=sizes.num_experts,
            top_k=sizes.top_k,
        ) as writer:
            recorder = RoutingRecorder(sizes, split.facts, writer, device)
            done = spool.resume(recorder, writer)
            _run_examples(config.route.batch_size, split, observer, recorder, spool, done)
            knockout = possible_knockout(network, config.route.knockout)
            snapshots = _snapshots(config)
            facts = _store_facts(
                split, sizes, capture, path, recorder, writer, knockout
            ).model_copy(update={"snapshots": list(snapshots)})
            writer.finish(
                facts,
                recorder.tables.arrays(),
                *recorder.sample.columns(sizes.num_layers, sizes.top_k),
            )
        elapsed_s = time.monotonic() - started
        if facts.knockout != "none":
            write_knockouts(run.output_dir, split, observer, sizes, config.route, config.seed)
        if snapshots:
            write_saturation(run.output_dir, split, observer, snapshots, config.route)
        spool.discard()
    return _counts(facts, network, recorder, elapsed_s)


def model_path(config: Config) -> str:
    """Returns the checkpoint to record: `route.model`, or what the run's train stage wrote."""
    return config.route.model or str(config.paths.model)


def table_sizes(config: Config, split: Split, capture: RoutingCapture, top_k: int) -> TableSizes:
    """Returns the axes of the tables."""
    return TableSizes(
        num_topics=len(split.topics),
        num_layers=len(capture.layers),
        num_experts=capture.num_experts,
        top_k=top_k,
        num_types=len(split.types.ids),
        num_classes=len(TOKEN_CLASSES),
        num_positions=min(config.route.position_bins, split.sequence_length),
    )


def _experts_per_token(observer: Observer, split: Split) -> int:
    """Runs one example to see k: configurations have many names for it."""
    batch = observer.prepare(split.collate(split.examples.__getitems__([0])))
    return observer(batch).experts.shape[-1]


def _open_spool(run: StageRun) -> Spool:
    """Opens what an unfinished pass of the same config, dataset and model left, if anything."""
    config, target = run.config, run.config.paths.routing
    sections = config.model_dump(mode="json", include={*STAGE.sections, "seed"})
    inputs = {name: manifest.fingerprint for name, manifest in run.inputs.items()}
    key = digest([FORMAT, sections, inputs, _model_fingerprint(config)])
    spool = Spool(target.parent / f".{target.name}.spool", key)
    if config.force:
        spool.discard()
    return spool


def _run_examples(
    batch_size: int,
    split: Split,
    observer: Observer,
    recorder: RoutingRecorder,
    spool: Spool,
    done: int,
) -> None:
    total = int(split.examples.lengths.sum())
    with progress_bar(f"route {split.name}", total, "tokens") as advance:
        chunks = iterate_chunks(
            split.folder, split.examples.lengths, max(MIN_EXAMPLES, 4 * batch_size)
        )
        for number, chunk in enumerate(chunks, start=1):
            if number <= done:
                advance(int(split.examples.lengths[chunk.examples].sum()))
                continue
            recorder.begin_chunk(chunk.first_document, chunk.last_document)
            for start in range(0, len(chunk.examples), batch_size):
                rows = chunk.examples[start : start + batch_size]
                batch = observer.prepare(split.collate(split.examples.__getitems__(rows.tolist())))
                recorder.add(batch, rows, observer(batch))
                advance(int(split.examples.lengths[rows].sum()))
            spool.chunk_done(number, recorder.end_chunk(), recorder)


def _store_facts(
    split: Split,
    sizes: TableSizes,
    capture: RoutingCapture,
    path: str,
    recorder: RoutingRecorder,
    writer: StoreWriter,
    knockout: KnockoutMode,
) -> StoreFacts:
    ids = split.types.ids
    bins, longest = sizes.num_positions, split.sequence_length
    return StoreFacts(
        layers=capture.layers,
        num_experts=sizes.num_experts,
        top_k=sizes.top_k,
        topics=split.topics,
        num_tokens=recorder.num_tokens,
        num_documents=writer.num_documents,
        types=ids.tolist(),
        type_strings=[*(split.vocabulary.texts[i] for i in ids), OTHER],
        token_classes=list(TOKEN_CLASSES),
        type_classes=split.vocabulary.classes[ids].tolist(),
        position_edges=[-(-number * longest // bins) for number in range(bins)],
        model=path,
        split=split.name,
        knockout=knockout,
    )


def _counts(
    facts: StoreFacts, network: PreTrainedModel, recorder: RoutingRecorder, elapsed_s: float
) -> dict[str, Any]:
    return {
        "num_tokens": facts.num_tokens,
        "num_documents": facts.num_documents,
        "layers": facts.layers,
        "num_experts": facts.num_experts,
        "top_k": facts.top_k,
        "model": facts.model,
        "model_type": network.config.model_type,
        "microseconds_per_token": round(1e6 * elapsed_s / max(recorder.num_tokens, 1), 3),
    }


def _model_fingerprint(config: Config) -> dict[str, str]:
    """Identifies the model that is recorded; it may come from elsewhere, so it is no stage input.

    Raises:
        UserError: the run's own model is asked for and not there.
    """
    if config.route.model is not None:
        return {"model": checkpoint_fingerprint(config.route.model)}
    manifest = read_manifest(config.paths.model)
    if manifest is None:
        raise UserError(
            f"{config.paths.model}: no finished train stage there; run `moescope train` first, "
            "or name a checkpoint with route.model"
        )
    return {"train": manifest.fingerprint, "snapshots": digest(list(_snapshots(config)))}


def _snapshots(config: Config) -> dict[int, Path]:
    """Finds the snapshots to compare: step → checkpoint; none for a model from elsewhere."""
    manifest = read_manifest(config.paths.model)
    if not config.route.snapshots or config.route.model is not None or manifest is None:
        return {}
    return find_snapshots(config.paths.checkpoints, manifest)


STAGE = Stage(
    name="route",
    summary="Run a split through the model and record every routing decision.",
    output="routing",
    inputs={"mask": "dataset"},
    sections=("masking", "route"),
    run=record_split,
    external=_model_fingerprint,
    next_stage="report",
)

if __name__ == "__main__":
    sys.exit(main([STAGE], sys.argv[1:], "moescope route"))
