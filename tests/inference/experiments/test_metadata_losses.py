"""Losses under every value of the masked router's column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from moescope.configs.errors import UserError
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK
from moescope.inference.experiments.metadata_losses import perplexity_matrix
from moescope.model import MoescopeConfig, MoescopeForCausalLM

from ..runs import SIZES, make_config, route, save

ROUTER = {"name": "masked", "column": "topic", "policy": "exact", "renormalise": True}


def decoder(vocab_size: int, topics: list[str]) -> MoescopeForCausalLM:
    torch.manual_seed(0)
    config = MoescopeConfig(
        vocab_size=vocab_size,
        router={**ROUTER, "values": topics},
        is_causal=True,
        moe_intermediate_size=8,
        num_experts=6,
        initializer_range=0.3,
        max_position_embeddings=64,
        **SIZES,
    )
    return MoescopeForCausalLM(config).eval()


@pytest.mark.parametrize("packing", ["none", "blocks"])
def test_own_values_give_the_losses_of_the_documents(tmp_path: Path, packing: str) -> None:
    dataset = make_config(tmp_path, f"dataset.packing={packing}")
    execute(CORPUS, dataset, "test")
    counts = execute(MASK, dataset, "test").counts
    topics = counts["topics"]
    model = save(decoder(counts["vocab_size"], topics), dataset, tmp_path / "model")
    _, own = route(dataset, model)
    assert own.facts.metadata_values == []
    assert own.metadata_values.empty
    _, store = route(dataset, model, "route.metadata_values=all")
    assert store.facts.metadata_column == "topic"
    assert store.facts.metadata_values == topics
    frame = store.metadata_values
    assert len(frame) == len(topics) * store.facts.num_documents
    documents = store.documents.set_index("document")
    assert (frame["own"].to_numpy() == documents.loc[frame["document"], "topic_id"]).all()
    same = frame[frame["own"] == frame["given"]]
    expected = documents.loc[same["document"], "loss"].to_numpy()
    np.testing.assert_allclose(same["loss"], expected, atol=1e-5)
    other = frame[(frame["own"] + 1) % len(topics) == frame["given"]]
    assert not np.isclose(other["loss"], expected, atol=1e-4).any()
    pd.testing.assert_frame_equal(own.documents, store.documents)
    # a document's experts are those of its own topic
    counts_DLE = np.asarray(store.expert_counts)
    owners = np.arange(6) * len(topics) // 6
    for row, topic in enumerate(store.documents["topic_id"]):
        assert counts_DLE[row][:, owners != topic].sum() == 0


def test_the_matrix_weighs_documents_by_their_labels() -> None:
    frame = pd.DataFrame(
        {
            "own": [0, 0, 1, 0, 0, 1],
            "given": [0, 0, 0, 1, 1, 1],
            "loss": [1.0, 3.0, 2.0, 2.0, 2.0, 0.0],
            "num_labels": [3, 1, 5, 3, 1, 5],
        }
    )
    matrix = perplexity_matrix(frame)
    np.testing.assert_allclose(matrix, np.exp([[1.5, 2.0], [2.0, 0.0]]))


def test_a_document_of_an_unknown_value_is_named(tmp_path: Path) -> None:
    dataset = make_config(tmp_path)
    execute(CORPUS, dataset, "test")
    counts = execute(MASK, dataset, "test").counts
    model = save(decoder(counts["vocab_size"], counts["topics"][:2]), dataset, tmp_path / "model")
    with pytest.raises(UserError, match=r"document .*unknown value"):
        route(dataset, model)
