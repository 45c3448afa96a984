"""A split is fed as the dataset was made."""

from pathlib import Path

import torch
from transformers import AutoTokenizer

from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.data_processors.collate import MaskingCollator
from moescope.data_processors.tokenizers import tokenizer_facts
from moescope.inference.recording.split import open_split

from ..runs import make_config


def test_train_is_masked_as_in_training_whatever_the_run_is_told(
    dataset: Config, tmp_path: Path
) -> None:
    manifest = read_manifest(dataset.paths.dataset)
    assert manifest is not None
    told = make_config(
        tmp_path,
        f"paths.dataset={dataset.paths.dataset}",
        *("route.split=train", "masking=span", "masking.probability=0.6", "dataset.packing=blocks"),
    )
    split = open_split(told, manifest, 400)
    rows = split.examples.__getitems__(list(range(8)))
    assert "mask_kind" not in rows[0], "train carries no masks of its own"
    tokenizer = AutoTokenizer.from_pretrained(dataset.paths.dataset / "tokenizer")
    facts = tokenizer_facts(tokenizer)
    expected = MaskingCollator(facts, dataset.masking, dataset.seed)(rows)
    got = split.collate(rows)
    assert got.keys() == expected.keys()
    for name in expected:
        assert torch.equal(got[name], expected[name]), name
