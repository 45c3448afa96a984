"""Everything that a report tells, before anything of it is drawn."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..configs.schema import Config
from ..inference.store.reader import RoutingStore
from .data.audit import CorpusAudit, read_audit
from .data.curves import TrainingCurves, read_training_curves
from .html.sentence import Sentence
from .results import RoutingResults, analyse_routing
from .verdict import ModelQuality, write_verdict


@dataclass(frozen=True)
class Findings:
    """What is known of a run.

    Attributes:
        store: its routing store.
        results: every number from it.
        audit: of its corpus.
        curves: of its training; None where another model was recorded.
        quality: of its model; None where another model was recorded.
        verdict: the answer.
        manifests: of the stages that made all this.
        started_at: `time.monotonic` when the analysis began.
    """

    store: RoutingStore
    results: RoutingResults
    audit: CorpusAudit
    curves: TrainingCurves | None
    quality: ModelQuality | None
    verdict: Sequence[Sentence]
    manifests: Mapping[str, Manifest]
    started_at: float

    @property
    def elapsed_s(self) -> float:
        """Wall time of all stages, this one so far included."""
        upstream = sum(manifest.elapsed_s for manifest in self.manifests.values())
        return upstream + time.monotonic() - self.started_at


def gather_findings(config: Config, inputs: Mapping[str, Manifest]) -> Findings:
    """Reads and analyses a run.

    Raises:
        UserError: the store, the audit or the metrics cannot be read.
    """
    started_at = time.monotonic()
    paths = config.paths
    store = RoutingStore.open(paths.routing)
    origins = document_origins(paths.dataset / f"documents-{store.facts.split}.parquet")
    results = analyse_routing(store, config.report, config.seed, origins)
    audit = read_audit(paths.corpus / "audit.json")
    manifests = made_this(inputs)
    quality = model_quality(manifests.get("train"))
    curves = read_training_curves(paths.metrics) if "train" in manifests else None
    return Findings(
        store=store,
        results=results,
        audit=audit,
        curves=curves,
        quality=quality,
        verdict=write_verdict(results, quality, audit.warnings, curves),
        manifests=manifests,
        started_at=started_at,
    )


def document_origins(path: Path) -> dict[str, str] | None:
    """Reads which documents are of one origin (documents-<split>.parquet); None without the file.

    Raises:
        UserError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        frame = pq.read_table(path, columns=["id", "group"]).to_pandas()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); rerun `moescope mask`") from error
    return dict(zip(frame["id"].astype(str), frame["group"].astype(str), strict=True))


def made_this(inputs: Mapping[str, Manifest]) -> Mapping[str, Manifest]:
    """Leaves the run's training out where another model was recorded (`route.model`)."""
    train, route = inputs.get("train"), inputs["route"]
    own = train is not None and route.inputs.get("train") == train.fingerprint
    return {name: manifest for name, manifest in inputs.items() if name != "train" or own}


def model_quality(manifest: Manifest | None) -> ModelQuality | None:
    """Takes the losses out of the train stage's manifest.

    Raises:
        UserError: it is from before they were counted up to the best step.
    """
    if manifest is None:
        return None
    counts = manifest.counts
    if "best_step_tokens" not in counts:
        raise UserError(
            "the model's manifest.json is of an older version and lacks best_step_tokens; delete "
            "its folder and rerun `moescope train`, which goes on from the finished checkpoints"
        )
    return ModelQuality(
        validation_loss=float(counts["validation_loss"]),
        unigram_entropy=float(counts["unigram_entropy"]),
        train_tokens=int(counts["train_tokens"]),
        best_step_tokens=int(counts["best_step_tokens"]),
        is_causal=bool(manifest.config["model"]["is_causal"]),
    )
