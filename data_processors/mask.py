"""The mask stage: a corpus becomes tokenised examples with fixed evaluation masks."""

import fnmatch
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

from ..configs.cli import main
from ..configs.errors import UserError
from ..configs.progress import progress_bar
from ..configs.schema import Config
from ..configs.schema_dataset import PretrainedTokenizer
from ..configs.stage import StageRun
from ..configs.stages import MASK
from .dataset_writer import SplitWriter
from .documents import SPLITS
from .tokenizers import (
    TextEncoder,
    load_pretrained,
    tokenizer_facts,
    tokenizer_hash,
    train_tokenizer,
)

OPTIONAL_SPLITS = ("test",)
TEXTS_AT_ONCE = 1000  # bounds memory, and is enough for the tokenizer to use every core


def mask_corpus(run: StageRun) -> dict[str, Any]:
    """Trains or loads the tokenizer and writes every split; returns the manifest's counts.

    Raises:
        UserError: a corpus without topics or with an empty split, or a tokenizer that does not
            fit it.
    """
    config, corpus_dir = run.config, run.config.paths.corpus
    topics = run.inputs["corpus"].counts.get("topics")
    if not topics or not isinstance(topics, list):
        raise UserError(
            f"{corpus_dir / 'manifest.json'}: counts.topics names no topics; "
            "redo it with `moescope corpus force=true`"
        )
    listed = run.inputs["corpus"].files
    shards = {split: _shards(corpus_dir, split, listed) for split in SPLITS}
    tokenizer = _make_tokenizer(config, shards["train"])
    tokenizer.save_pretrained(run.output_dir / "tokenizer")
    facts = tokenizer_facts(tokenizer)
    writer = SplitWriter(
        encoder=TextEncoder(tokenizer),
        facts=facts,
        topics=topics,
        dataset=config.dataset,
        masking=config.masking,
        seed=config.seed,
    )
    counts: dict[str, dict[str, int]] = {"examples": {}, "tokens": {}, "documents": {}}
    for split in SPLITS:
        with progress_bar(f"tokenise {split}", _num_rows(shards[split]), "documents") as advance:
            written = writer.write(_batches(shards[split]), run.output_dir, split, advance)
        for name, count in written.items():
            counts[name][split] = count
    return counts | {
        "vocab_size": len(tokenizer),
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "topics": topics,
        "sequence_length": config.dataset.sequence_length,
        "mask_token_id": facts.mask_token_id,
        "pad_token_id": facts.pad_token_id,
    }


def _shards(corpus_dir: Path, split: str, listed: Collection[str]) -> list[Path]:
    """Lists the shards of a split among the files that the corpus' manifest lists.

    Raises:
        UserError: a split that every run needs is empty.
    """
    paths = [corpus_dir / name for name in sorted(fnmatch.filter(listed, f"{split}-*.parquet"))]
    if not _num_rows(paths) and split not in OPTIONAL_SPLITS:
        raise UserError(
            f"{corpus_dir}: the {split} split has no documents; take more documents or raise "
            "corpus.splits.*, and redo `moescope corpus`"
        )
    return paths


def _num_rows(shards: list[Path]) -> int:
    total = 0
    for path in shards:
        try:
            total += pq.read_metadata(path).num_rows
        except pa.ArrowInvalid as error:
            raise UserError(f"{path}: not a complete Parquet file ({error})") from error
    return total


def _batches(shards: list[Path], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for path in shards:
        try:
            yield from pq.ParquetFile(path).iter_batches(TEXTS_AT_ONCE, columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: damaged ({error}); redo `moescope corpus`") from error


def _make_tokenizer(config: Config, shards: list[Path]) -> PreTrainedTokenizerFast:
    sequence_length = config.dataset.sequence_length
    if isinstance(config.tokenizer, PretrainedTokenizer):
        masked = config.masking.name != "none"
        return load_pretrained(config.tokenizer, sequence_length, masked=masked)

    def texts() -> Iterator[list[str]]:
        with progress_bar("read for the tokenizer", _num_rows(shards), "documents") as advance:
            for batch in _batches(shards, ["text"]):
                yield batch["text"].to_pylist()
                advance(len(batch))

    return train_tokenizer(config.tokenizer, texts, sequence_length)


if __name__ == "__main__":
    sys.exit(main([MASK], sys.argv[1:], "moescope mask"))
