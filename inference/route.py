"""The route stage: runs a model over a split and writes every routing decision into the store."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..configs.cli import main
from ..configs.errors import UserError
from ..configs.manifest import Manifest, digest
from ..configs.progress import console
from ..configs.schema import Config
from ..configs.stage import StageRun
from ..configs.stages import ROUTE
from ..data_processors.mask_kinds import MASK_KINDS, MaskKind
from ..train.checkpoints import check_snapshot
from .checkpoints.fingerprints import recorded_model, recorded_snapshots
from .checkpoints.loading import Loading
from .experiments.knockout import possible_knockout, write_knockouts
from .experiments.metadata_losses import known_values, write_metadata_losses
from .experiments.saturation import write_saturation
from .experiments.senses import LabelledText, read_senses, write_senses
from .recording.between_layers import BetweenLayers
from .recording.layer_by_layer import LayerByLayer
from .recording.processes import Recorders
from .recording.recording import Recording, model_path, open_recording
from .recording.resume import SavedPass
from .recording.shards import merge_shards, record_alone, record_shard
from .recording.token_classes import TOKEN_CLASSES
from .recording.token_types import OTHER
from .store.schema import FORMAT, StoreFacts
from .store.writer import StoreWriter


def record_split(run: StageRun, processes: Recorders | None = None) -> dict[str, Any]:
    """Runs the model over the split and writes the routing store; returns the counts.

    Args:
        run: config, dataset and where to write.
        processes: the other processes that record the split; None if there are none.

    Raises:
        UserError: a checkpoint that does not fit the dataset or has no experts, or a split that
            is not there.
    """
    config, dataset, started = run.config, run.inputs["mask"], time.monotonic()
    senses = read_senses(config.route.senses) if config.route.senses else []
    for snapshot in recorded_snapshots(config).values():
        check_snapshot(snapshot)
    saved = _open_saved(run)
    if processes is not None:
        processes.hand_out(json.dumps([config.model_dump_json(), dataset.model_dump_json()]))
    between = BetweenLayers(saved.beside("layers"), saved.key)
    with open_recording(config, dataset, between) as recording:
        recording.prepare()
        sizes = recording.sizes
        with StoreWriter(
            run.output_dir,
            num_layers=sizes.num_layers,
            num_experts=sizes.num_experts,
            num_slots=sizes.num_slots,
        ) as writer:
            if processes is None:
                recorder = record_alone(recording, saved, writer)
            else:
                record_shard(recording, saved, processes.shard)
                processes.wait_for_others()
                recorder = merge_shards(recording, saved, writer, processes.shard.count)
            facts = _store_facts(recording, recorder.num_tokens, writer.num_documents)
            facts = facts.model_copy(update={"senses": sorted({each.token for each in senses})})
            sample = recorder.sample.columns(sizes.num_layers, sizes.num_slots)
            writer.finish(facts, recorder.tables.arrays(), *sample)
        elapsed_s = time.monotonic() - started
        _add_experiments(run.output_dir, recording, facts, senses)
        saved.discard()
        between.discard()
    return _counts(facts, recording, elapsed_s)


def _open_saved(run: StageRun) -> SavedPass:
    """Opens what an interrupted pass saved; with `force` it starts anew."""
    saved = _saved_pass(run.config, run.inputs["mask"])
    if run.config.force:
        saved.discard()
    return saved


def _saved_pass(config: Config, dataset: Manifest) -> SavedPass:
    """Returns the saves that belong to this config, dataset and model."""
    target = config.paths.routing
    sections = config.model_dump(mode="json", include={*ROUTE.sections, "seed"})
    key = digest([FORMAT, sections, dataset.fingerprint, recorded_model(config)])
    return SavedPass(target.parent / f".{target.name}.resume", key)


def _add_experiments(
    folder: Path, recording: Recording, facts: StoreFacts, senses: list[LabelledText]
) -> None:
    """Adds the experiments, which take further passes over some of the documents."""
    config, observer, split = recording.config, recording.observer, recording.split
    if facts.knockout != "none":
        write_knockouts(folder, split, observer, recording.sizes, config.route, config.seed)
    if facts.snapshots:
        write_saturation(folder, split, observer, recorded_snapshots(config), config.route)
    if facts.metadata_values:
        names = facts.metadata_values
        write_metadata_losses(folder, split, observer, names, config.route.batch_size)
    if senses:
        write_senses(folder, senses, split, observer, config.route.batch_size)


def _store_facts(recording: Recording, num_tokens: int, num_documents: int) -> StoreFacts:
    config, split, sizes = recording.config, recording.split, recording.sizes
    ids, bins, longest = split.types.ids, sizes.num_positions, split.sequence_length
    edges = [-(-number * longest // bins) for number in range(bins)]
    names = known_values(recording.network.config)
    return StoreFacts(
        layers=recording.capture.layers,
        num_experts=sizes.num_experts,
        top_k=sizes.top_k,
        topics=split.topics,
        num_tokens=num_tokens,
        num_documents=num_documents,
        types=ids.tolist(),
        type_strings=[*(split.vocabulary.texts[i] for i in ids), OTHER],
        token_classes=list(TOKEN_CLASSES),
        type_classes=split.vocabulary.classes[ids].tolist(),
        position_edges=edges,
        places=_places(edges, longest, split.special_strings),
        target="next" if recording.observer.is_causal else "masked",
        model=model_path(config),
        loading=Loading.of_route(config.route, None).described(recording.network),
        split=split.name,
        knockout=possible_knockout(recording.network, config.route.knockout),
        snapshots=list(recorded_snapshots(config)),
        metadata_column=recording.network.config.router["column"] if names else None,
        metadata_values=names if config.route.metadata_values == "all" else [],
    )


def _places(edges: list[int], longest: int, special: list[str]) -> list[tuple[str, str]]:
    """Names the rows of the place tables, in the order that `TableSizes.num_places` gives."""
    spans = [f"{low}–{high - 1}" for low, high in pairwise([*edges, longest])]
    kinds = (MASK_KINDS[MaskKind.UNTOUCHED], MASK_KINDS[MaskKind.MASKED])
    by_position = [(kind, span) for kind in kinds for span in spans]
    return [*by_position, *((MASK_KINDS[MaskKind.SPECIAL], name) for name in special)]


def _counts(facts: StoreFacts, recording: Recording, elapsed_s: float) -> dict[str, Any]:
    return {
        "num_tokens": facts.num_tokens,
        "num_documents": facts.num_documents,
        "layers": facts.layers,
        "num_experts": facts.num_experts,
        "top_k": facts.top_k,
        "model": facts.model,
        "model_type": recording.network.config.model_type,
        "dtype": str(recording.network.dtype).removeprefix("torch."),
        "layer_by_layer": isinstance(recording.observer, LayerByLayer),
        "microseconds_per_token": round(1e6 * elapsed_s / max(facts.num_tokens, 1), 3),
    }


def run_processes(arguments: Sequence[str]) -> int:
    """Runs the stage in this process and gives the others their shards; returns the exit code."""
    processes = Recorders()
    if processes.shard.rank > 0:
        return _serve(processes)
    try:
        stage = replace(ROUTE, run=partial(record_split, processes=processes))
        return main([stage], arguments, "moescope route")
    finally:
        processes.hand_out("")


def _serve(processes: Recorders) -> int:
    """Records this process' shard of every split that process 0 records."""
    try:
        for task in processes.tasks():
            config, dataset = json.loads(task)
            config = Config.model_validate_json(config)
            dataset = Manifest.model_validate_json(dataset)
            with open_recording(config, dataset) as recording:
                record_shard(recording, _saved_pass(config, dataset), processes.shard)
    except UserError as error:
        console.print(f"moescope: {error}", markup=False, style="red", soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    run = run_processes if Recorders.started() else partial(main, [ROUTE], program="moescope route")
    sys.exit(run(sys.argv[1:]))
