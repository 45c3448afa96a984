"""The whole config of a run: every section, and the checks that span sections."""

from pathlib import Path

from pydantic import Field, model_validator

from .schema_checkpoint import Checkpoint, Export
from .schema_compare import Compare
from .schema_corpus import Corpus, Source
from .schema_dataset import DatasetConfig, Masking, Tokenizer
from .schema_generate import Generate
from .schema_model import Balance, ModelSection, Router
from .schema_plan import Plan
from .schema_report import Report, Route
from .schema_train import Tracking, Train
from .section import Section


class Paths(Section):
    """Where a run's folders are; override one to share it between runs."""

    runs: Path = Field(description="folder of all runs (and of Aim's repository)")
    run: Path = Field(description="this run's folder")
    corpus: Path = Field(description="what the corpus stage writes")
    dataset: Path = Field(description="what the mask stage writes")
    model: Path = Field(description="the trained model")
    checkpoints: Path = Field(description="checkpoints to resume from")
    metrics: Path = Field(description="metrics.jsonl")
    imported: Path = Field(description="what the import stage writes")
    exported: Path = Field(description="what the export stage writes")
    routing: Path = Field(description="the routing store")
    report: Path = Field(description="the report")
    comparison: Path = Field(description="what the compare stage writes")


class Config(Section):
    """A run's config; a stage reads only the sections that it names."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._=,+-]*$", description="name of the run (a folder name)"
    )
    seed: int = Field(ge=0, le=2**31 - 1, description="seed of every random draw")
    plugins: list[str] = Field(
        description="modules of your own to load: import names, or paths that end in .py"
    )
    force: bool = Field(description="redo a stage that is finished and unchanged")
    paths: Paths
    source: Source
    corpus: Corpus
    tokenizer: Tokenizer
    masking: Masking
    dataset: DatasetConfig
    model: ModelSection
    router: Router
    balance: Balance
    train: Train
    tracking: Tracking
    route: Route
    report: Report
    compare: Compare
    generate: Generate
    plan: Plan
    checkpoint: Checkpoint
    export: Export

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        # what an architecture allows is said once, by MoescopeConfig (`Stage.check` of train)
        model = self.model
        if self.dataset.sequence_length > model.max_position_embeddings:
            raise ValueError(
                f"dataset.sequence_length={self.dataset.sequence_length} is above "
                f"model.max_position_embeddings={model.max_position_embeddings}"
            )
        return self
