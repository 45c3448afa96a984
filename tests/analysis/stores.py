"""Writes small routing stores whose truth is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moescope.data_processors.mask_kinds import MASK_KINDS
from moescope.inference.store.schema import SAMPLE_FIELDS, StoreFacts
from moescope.inference.store.writer import StoreWriter, document_table


@dataclass(frozen=True)
class Planted:
    """What a planted store looks like.

    Attributes:
        topics: topic names.
        documents_per_topic: documents of each topic.
        layers: layer numbers.
        experts: experts per layer.
        effect: log-odds that topic t adds to expert t mod E, in every layer of `effect_layers`.
        effect_layers: positions of the layers with the effect.
        document_noise: standard deviation of each document's own log-odds per expert.
        tokens: untouched tokens per document (Poisson mean).
        masked: masked tokens per document.
        mask_effect: log-odds that [MASK] tokens add to the last expert.
        token_names: readable token types.
        sample_masked: first tokens of every sampled document that are masked, seen as type 0.
    """

    topics: tuple[str, ...] = ("arrays", "graphs", "plots", "stats")
    documents_per_topic: int = 40
    layers: tuple[int, ...] = (0, 2)
    experts: int = 8
    effect: float = 0.0
    effect_layers: tuple[int, ...] = (1,)
    document_noise: float = 0.3
    tokens: int = 60
    masked: int = 10
    mask_effect: float = 0.0
    token_names: tuple[str, ...] = (" the", " array", " graph", ",")
    sample_masked: int = 0


def planted_counts(
    plan: Planted, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws topic ids (D), tokens (D), choices and masked choices (D, L, E), one per token."""
    topics = np.repeat(np.arange(len(plan.topics)), plan.documents_per_topic)
    shape = len(topics), len(plan.layers), plan.experts
    logits = generator.normal(0, plan.document_noise, shape)
    for position in plan.effect_layers:
        logits[np.arange(len(topics)), position, topics % plan.experts] += plan.effect
    masked_logits = logits.copy()
    masked_logits[..., -1] += plan.mask_effect
    tokens = generator.poisson(plan.tokens, len(topics)) + 1
    counts = generator.multinomial(tokens[:, None], _softmax(logits))
    masked = generator.multinomial(np.full((len(topics), 1), plan.masked), _softmax(masked_logits))
    return topics, tokens, counts, masked


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def write_store(
    folder: Path,
    plan: Planted,
    generator: np.random.Generator,
    order: np.ndarray | None = None,
) -> Path:
    """Writes a store by the contract; `order` permutes its documents."""
    topics, tokens, counts, masked = planted_counts(plan, generator)
    documents, layers, experts = counts.shape
    order = np.arange(documents) if order is None else order
    facts = StoreFacts(
        layers=list(plan.layers),
        num_experts=experts,
        top_k=1,
        topics=list(plan.topics),
        num_tokens=int(tokens.sum() + documents * plan.masked),
        num_documents=documents,
        types=list(range(len(plan.token_names))),
        type_strings=[*plan.token_names, "other"],
        token_classes=["word", "punctuation"],
        type_classes=[0] * len(plan.token_names),
        position_edges=[0, 16],
        model="planted",
        split="probe",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with StoreWriter(folder, num_layers=layers, num_experts=experts, num_slots=1) as writer:
        table = document_table(
            {
                "document": np.arange(documents),
                "id": [f"document-{number:05d}" for number in order],
                "topic": [plan.topics[topics[number]] for number in order],
                "topic_id": topics[order],
                "date": [None] * documents,
                "source": ["planted"] * documents,
                "group": [f"document-{number:05d}" for number in order],
                "num_tokens": (tokens + plan.masked)[order],
                "loss": np.full(documents, 4.0),
                "num_labels": np.full(documents, plan.masked),
                "num_untouched": tokens[order],
                "num_masked": np.full(documents, plan.masked),
            },
            counts[order],
            masked[order],
        )
        writer.append(table)
        tables = _tables(facts, topics, counts, masked)
        sample, chosen = _sample(counts, np.argsort(order), len(plan.token_names), generator)
        masked_here = sample["position"] < plan.sample_masked
        sample["mask_kind"] = np.where(masked_here, MASK_KINDS.index("masked"), 0)
        sample["input_id"] = np.where(masked_here, 0, sample["token_id"])
        writer.finish(facts, tables, sample, chosen, np.ones_like(chosen, dtype=np.float32))
    return folder


def _sample(
    counts: np.ndarray, rows: np.ndarray, num_types: int, generator: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every document token by token, its types at random: columns and choices (N, L, 1).

    `rows` (D) says in which row of the store a document is.
    """
    documents, layers, experts = counts.shape
    tokens = counts[:, 0].sum(axis=-1)
    every = np.tile(np.arange(experts), documents)
    chosen = [np.repeat(every, counts[:, layer].ravel()) for layer in range(layers)]
    columns = {field.name: np.zeros(tokens.sum(), np.int64) for field in SAMPLE_FIELDS}
    columns["document"] = np.repeat(rows, tokens)
    columns["position"] = np.concatenate([np.arange(number) for number in tokens])
    columns["token_id"] = generator.integers(0, num_types, tokens.sum())
    columns["input_id"] = columns["token_id"]
    return columns, np.stack(chosen, axis=1)[..., None].astype(np.int16)


def _tables(
    facts: StoreFacts, topics: np.ndarray, counts: np.ndarray, masked: np.ndarray
) -> dict[str, np.ndarray]:
    shapes = facts.table_shapes()
    tables = {
        name: np.zeros(shape, np.float64 if name.endswith("_entropy") else np.int64)
        for name, shape in shapes.items()
    }
    for mask_kind, values in enumerate((counts, masked)):
        np.add.at(tables["topic_mask_kind_expert"][:, mask_kind], topics, values)
    tables["topic_mask_kind_tokens"] = tables["topic_mask_kind_expert"][:, :, 0].sum(axis=-1)
    tables["topic_mask_kind_entropy"] += 0.9 * tables["topic_mask_kind_tokens"][..., None]
    pooled = counts.sum(axis=0)  # (L, E)
    rows = len(facts.types)
    tables["type_expert"][:rows] = pooled // rows
    tables["type_expert"][0, :, 0] += pooled[:, 0]  # the first type leans to expert 0
    tables["type_tokens"] = tables["type_expert"][:, 0].sum(axis=-1)
    return tables
