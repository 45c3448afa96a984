"""Opens a split: its examples, its documents and its token types."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...configs.errors import UserError
from ...configs.manifest import Manifest
from ...configs.schema import Config
from ...data_processors.collate import collator_of
from ...data_processors.examples import ExampleDataset
from ...data_processors.tokenizers import tokenizer_facts
from .chunks import count_ids
from .recorder import TokenFacts
from .sample import choose_documents, topic_ranks
from .token_types import OTHER, TypeAxis, Vocabulary, choose_types, read_vocabulary

DOCUMENT_COLUMNS = ["id", "topic", "topic_id", "date", "source", "group", "num_tokens"]


@dataclass(frozen=True)
class Split:
    """The examples to record, ready to be fed.

    Attributes:
        folder: the split's Arrow files.
        tokenizer: the dataset's.
        cls_sep: ids that open and close a segment.
        opens: tokens before a segment's content: 1, in blocks 0.
        vocabulary: the tokenizer's types in readable form.
        types: the types that have a row in the type tables.
        special_strings: the special tokens without [MASK]; "other" last.
        topic_ids: (D,) topic of each document.
        sampled_tokens: content tokens of the documents kept token by token.
        ranks: (D,) drawn order of each topic's documents, as `topic_ranks` gives it.
        collate: rows → batch, on the host.
    """

    name: str
    folder: Path
    topics: list[str]
    sequence_length: int
    examples: ExampleDataset
    tokenizer: PreTrainedTokenizerFast
    cls_sep: tuple[int, int]
    opens: int
    vocabulary: Vocabulary
    types: TypeAxis
    special_strings: list[str]
    topic_ids: np.ndarray
    ranks: np.ndarray
    sampled_tokens: int
    facts: TokenFacts
    collate: Callable[[Any], dict[str, Tensor]]

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """Sorts examples, given as rows of the split, so that little of a batch is padding."""
        return rows[np.argsort(self.examples.lengths[rows], kind="stable")]

    def batches(
        self, rows: np.ndarray, size: int
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        """Yields every `size` of the examples, in their order: their rows and their batch."""
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield part, self.collate(self.examples.__getitems__(part.tolist()))


def open_split(
    config: Config, dataset: Manifest, vocab_size: int, *, is_causal: bool = False
) -> Split:
    """Opens the split, for an encoder or a decoder, and looks its token types up.

    Raises:
        UserError: the split does not exist or is empty.
    """
    dataset_dir, name, counts = config.paths.dataset, config.route.split, dataset.counts
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(  # type: ignore[assignment]
        dataset_dir / "tokenizer", trust_remote_code=False
    )
    tokens = tokenizer_facts(tokenizer)
    examples = ExampleDataset(dataset_dir, name)
    if not len(examples):
        raise UserError(f"route.split={name}: that split is empty; choose another one")
    vocabulary = read_vocabulary(tokenizer, vocab_size)
    types = choose_types(
        count_ids(dataset_dir / name, vocab_size), config.route.max_types, vocabulary.special_ids
    )
    documents = pq.read_table(dataset_dir / f"documents-{name}.parquet", columns=DOCUMENT_COLUMNS)
    topic_ids = documents.column("topic_id").to_numpy()
    ranks = topic_ranks(documents.column("id").to_pylist(), topic_ids, config.seed)
    num_tokens = documents.column("num_tokens").to_numpy()
    sampled = choose_documents(
        ranks,
        num_tokens,
        per_topic=config.route.sample_documents,
        max_tokens=config.route.sample_tokens,
    )
    special = [i for i in vocabulary.special_ids if i != tokenizer.mask_token_id]
    special_of_id = torch.full((vocab_size,), len(special))
    special_of_id[special] = torch.arange(len(special))
    facts = TokenFacts(
        row_of_id=torch.from_numpy(types.row_of_id),
        class_of_id=torch.from_numpy(vocabulary.classes),
        special_of_id=special_of_id,
        topic_of_document=torch.from_numpy(topic_ids.astype(np.int64)),
        sampled=torch.from_numpy(sampled),
        documents=documents,
        sequence_length=counts["sequence_length"],
    )
    return Split(
        name=name,
        folder=dataset_dir / name,
        topics=counts["topics"],
        sequence_length=counts["sequence_length"],
        examples=examples,
        tokenizer=tokenizer,
        cls_sep=tokens.cls_sep,
        opens=0 if dataset.config["dataset"]["packing"] == "blocks" else 1,
        vocabulary=vocabulary,
        types=types,
        special_strings=[*(vocabulary.texts[i] for i in special), OTHER],
        topic_ids=topic_ids,
        ranks=ranks,
        sampled_tokens=int(num_tokens[sampled].sum()),
        facts=facts,
        collate=collator_of(dataset.config, tokens, config.seed, is_causal=is_causal),
    )
