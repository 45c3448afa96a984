"""Everything that the chapters of a report read."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...configs.errors import UserError, nearest
from ...configs.manifest import Manifest
from ...configs.schema import Config
from ...configs.schema_report import Report
from ...inference.store.reader import RoutingStore
from ..statistics.bootstrap import poisson_weights
from .audit import CorpusAudit, read_audit
from .covariates import text_covariates
from .curves import TrainingCurves, read_training_curves
from .design import Design
from .documents import DocumentCounts, document_counts
from .quality import ModelQuality, model_quality
from .sample import TokenSample, token_sample


@dataclass(frozen=True)
class RunData:
    """A routing store and what is known of the run that it belongs to.

    Attributes:
        store: every routing decision, as tables.
        settings: `report` of the config.
        seed: of every draw.
        groups: document id → group (module, author, address); None = each document its own.
        time_blocks: document id → what is one observation of its time (`report.time_blocks`);
            None = its group.
        covariates: source, script and language by document id; None where texts are not known.
        audit: of the corpus; None where it is not known.
        curves: of the training; None where another model was recorded.
        quality: of the model; None where another model was recorded.
        manifests: of the stages that made all this.
        tokenizer: path of the dataset's tokenizer.json; it need not exist.
        started_at: `time.monotonic` when the analysis began.
    """

    store: RoutingStore
    settings: Report
    seed: int
    groups: Mapping[str, str] | None = None
    time_blocks: Mapping[str, str] | None = None
    covariates: pd.DataFrame | None = None
    audit: CorpusAudit | None = None
    curves: TrainingCurves | None = None
    quality: ModelQuality | None = None
    manifests: Mapping[str, Manifest] | None = None
    tokenizer: Path = Path("tokenizer.json")
    started_at: float = 0.0

    @cached_property
    def documents(self) -> DocumentCounts:
        """Choices of each document, untouched and masked tokens apart."""
        return document_counts(self.store, self.groups)

    @cached_property
    def sample(self) -> TokenSample:
        """The documents that are kept token by token."""
        return token_sample(self.store, self.documents)

    @cached_property
    def weights(self) -> np.ndarray:
        """(B, D) bootstrap weights, each a hash of its group, whose documents share it."""
        return poisson_weights(self.documents.group_names, self.settings.bootstrap, self.seed)

    @cached_property
    def group_names(self) -> list[str] | None:
        """The group of each document (D); None where each is its own."""
        return None if self.documents.groups is None else self.documents.group_names

    @cached_property
    def design(self) -> Design:
        """Names, sizes and settings of the tests."""
        data = self.documents
        return Design(
            topics=data.topics,
            layers=data.layers,
            num_experts=data.num_experts,
            top_k=data.top_k,
            alpha=self.settings.alpha,
            permutations=self.settings.permutations,
        )

    @property
    def elapsed_s(self) -> float:
        """Wall time of all stages, this one so far included."""
        upstream = sum(manifest.elapsed_s for manifest in (self.manifests or {}).values())
        return upstream + time.monotonic() - self.started_at


def read_run(config: Config, inputs: Mapping[str, Manifest]) -> RunData:
    """Opens everything that a run's stages left for the report.

    Raises:
        UserError: the store, the audit or the metrics cannot be read.
    """
    started_at = time.monotonic()
    paths = config.paths
    store = RoutingStore.open(paths.routing)
    manifests = made_this(inputs)
    documents = paths.dataset / f"documents-{store.facts.split}.parquet"
    return RunData(
        store=store,
        settings=config.report,
        seed=config.seed,
        groups=document_groups(documents),
        time_blocks=time_blocks(documents, config.report.time_blocks),
        covariates=covariates_of(store, paths.corpus),
        audit=read_audit(paths.corpus / "audit.json"),
        curves=read_training_curves(paths.metrics) if "train" in manifests else None,
        quality=model_quality(manifests.get("train")),
        manifests=manifests,
        tokenizer=paths.dataset / "tokenizer" / "tokenizer.json",
        started_at=started_at,
    )


def document_groups(path: Path) -> dict[str, str] | None:
    """Reads which documents are of one group (documents-<split>.parquet); None without the file.

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


def covariates_of(store: RoutingStore, corpus: Path) -> pd.DataFrame:
    """Puts what is known of each document beside its id: source, script, language.

    Raises:
        UserError: the corpus cannot be read.
    """
    frame = store.documents.drop_duplicates("id")
    known = frame[["source"]].set_index(frame["id"].astype(str))
    guessed = text_covariates(corpus, store.facts.split)
    return known if guessed is None else known.join(guessed)


def time_blocks(path: Path, column: str) -> dict[str, str] | None:
    """Reads the block of each document (documents-<split>.parquet); None where it is its group.

    Args:
        path: of the documents.
        column: `report.time_blocks`: group, source, or a key of the documents' metadata.

    Raises:
        UserError: no document has such a column, or the file cannot be read.
    """
    if column == "group" or not path.exists():
        return None
    try:
        frame = pq.read_table(path, columns=["id", "source", "metadata"]).to_pandas()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); rerun `moescope mask`") from error
    known = [dict(pairs) if pairs is not None else {} for pairs in frame["metadata"]]
    values = frame["source"] if column == "source" else [each.get(column) for each in known]
    found = {
        name: str(value)
        for name, value in zip(frame["id"].astype(str), values, strict=True)
        if value is not None
    }
    if not found:
        names = ["group", "source", *sorted({key for each in known for key in each})]
        raise UserError(
            f"report.time_blocks={column}: the documents have no such column"
            f"{nearest(column, names)}; they have {', '.join(names)}"
        )
    return found


def made_this(inputs: Mapping[str, Manifest]) -> Mapping[str, Manifest]:
    """Leaves the run's training out where another model was recorded (`route.model`)."""
    train, route = inputs.get("train"), inputs["route"]
    own = train is not None and route.inputs.get("train") == train.fingerprint
    return {name: manifest for name, manifest in inputs.items() if name != "train" or own}
