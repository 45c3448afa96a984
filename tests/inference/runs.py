"""A small corpus with its dataset, a small encoder with its checkpoint, and the route stage."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel

from moescope.configs.compose import compose_config
from moescope.configs.manifest import Manifest
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import ROUTE
from moescope.inference.store.reader import RoutingStore
from moescope.model import MoescopeConfig, MoescopeForMaskedLM

EXPERTS, TOP_K = 6, 2
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_experts_per_tok": TOP_K,
    "intermediate_size": 16,
}


def overrides_of(runs: Path, *overrides: str) -> list[str]:
    return [
        "source=synthetic",
        "source.documents_per_topic=40",
        "source.words_per_document=30",
        "source.num_topics=3",
        "corpus.clean.min_chars=1",
        "corpus.splits.probe_documents=12",
        "tokenizer.vocab_size=400",
        "dataset.sequence_length=20",
        "name=t",
        f"paths.runs={runs}",
        "route.batch_size=8",
        "route.position_bins=4",
        "route.sample_documents=2",
        "route.knockout=none",
        *overrides,
    ]


def make_config(runs: Path, *overrides: str) -> Config:
    return compose_config(overrides_of(runs, *overrides))


def save(network: PreTrainedModel, config: Config, folder: Path) -> str:
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(config.paths.dataset / "tokenizer").save_pretrained(folder)
    return str(folder)


def encoder(vocab_size: int, **changes: object) -> MoescopeForMaskedLM:
    torch.manual_seed(0)
    settings = SIZES | {"moe_intermediate_size": 8, "num_experts": EXPERTS, "first_k_dense": 1}
    settings |= {"router": {"name": "topk"}}
    config = MoescopeConfig(
        vocab_size=vocab_size,
        initializer_range=0.3,
        max_position_embeddings=64,
        **settings | changes,
    )
    return MoescopeForMaskedLM(config).eval()


def route(dataset: Config, model: str, *overrides: str) -> tuple[Manifest, RoutingStore]:
    paths = f"paths.runs={dataset.paths.runs}"
    packing = f"dataset.packing={dataset.dataset.packing}"
    config = make_config(Path("unused"), paths, packing, f"route.model={model}", *overrides)
    manifest = execute(ROUTE, config, command="test")
    return manifest, RoutingStore.open(config.paths.routing)
