"""Senses (E16): records how a token is routed in texts that use it in different senses."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from ...configs.errors import UserError, nearest
from ...configs.progress import console, progress_bar
from ...data_processors.mask_kinds import MaskKind
from ...data_processors.sources.files import FORMATS, ROW_READERS
from ..recording.forward import Observer
from ..recording.recorder import real_positions
from ..recording.split import Split
from ..store.schema import SENSE_FIELDS, SENSES_FILE

COLUMNS, GROUP = ("text", "token", "sense"), "group"


@dataclass(frozen=True)
class LabelledText:
    """A text in which every occurrence of a token, a whole word, has one sense.

    `group` is what texts of one author or source share; "" = the text by itself.
    """

    text: str
    token: str
    sense: str
    group: str = ""


@dataclass(frozen=True)
class Occurrence:
    """Where a labelled token stands: content tokens `first` to `last` of text number `text`."""

    text: int
    first: int
    last: int
    spelling: str


class SenseColumns:
    """The columns of a file of labelled texts, for the readers of tables; a group is optional."""

    def __init__(self) -> None:
        self._has_group = False

    def names(self) -> list[str]:
        return [*COLUMNS, GROUP] if self._has_group else list(COLUMNS)

    def check(self, present: Iterable[str], where: str) -> None:
        there = list(present)
        self._has_group = GROUP in there
        for name in COLUMNS:
            if name not in there:
                raise UserError(
                    f"{where}: no column {name!r}{nearest(name, there)}; route.senses needs "
                    f"{', '.join(COLUMNS)}"
                )


def read_senses(path: Path) -> list[LabelledText]:
    """Reads JSON Lines, CSV or Parquet with the columns text, token, sense and, if wanted, group.

    Raises:
        UserError: no such file, no such column, or a value that is empty or no text; names the
            line.
    """
    kind = FORMATS.get(path.suffix.lower())
    if not path.is_file() or kind is None:
        raise UserError(f"route.senses={path}: no such file, or not one of {', '.join(FORMATS)}")
    columns, texts = SenseColumns(), []
    for place, row in ROW_READERS[kind](path, columns, "utf-8"):
        for name in COLUMNS:
            if not isinstance(row[name], str) or not row[name].strip():
                raise UserError(f"{path} {place}: {name}={row[name]!r} is empty or no text")
        group = row.get(GROUP) or ""
        if not isinstance(group, str):
            raise UserError(f"{path} {place}: {GROUP}={group!r} is no text")
        labelled = LabelledText(row["text"], row["token"].strip(), row["sense"].strip(), group)
        if not _standing(labelled):
            raise UserError(f"{path} {place}: the word {labelled.token!r} is not in the text")
        texts.append(labelled)
    if not texts:
        raise UserError(f"route.senses={path}: no texts there; it needs {', '.join(COLUMNS)}")
    return texts


def write_senses(
    folder: Path, texts: list[LabelledText], split: Split, observer: Observer, batch_size: int
) -> None:
    """Runs the texts, without masks, and adds `senses.parquet` to the store in `folder`."""
    encodings = _encode(texts, split)
    found = list(_occurrences(texts, encodings, split))
    missing = len(texts) - len({occurrence.text for occurrence in found})
    if missing:
        console.print(
            f"route: in {missing} texts of route.senses the token stands behind the first "
            f"{split.sequence_length} tokens; they are left out"
        )
    order = np.argsort([len(encoding.ids) for encoding in encodings], kind="stable")
    counts: dict[int, np.ndarray] = {}
    with progress_bar("route senses", len(texts), "texts") as advance:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = _batch([encodings[i] for i in chosen], split)
            own = [number for number, o in enumerate(found) if o.text in set(chosen.tolist())]
            places = {int(text): place for place, text in enumerate(chosen)}
            spans = [(places[found[n].text], found[n].first, found[n].last) for n in own]
            counts |= zip(own, _count(observer, batch, spans, split.opens), strict=True)
            advance(len(chosen))
    table = np.zeros((len(found), len(observer.layers), observer.num_experts), dtype=np.int32)
    for number, choices in counts.items():
        table[number] = choices
    _write(folder, texts, found, table)


def _standing(labelled: LabelledText) -> list[tuple[int, int]]:
    """Finds the token as a whole word, letter by letter; returns spans of characters."""
    pattern = rf"(?<!\w){re.escape(labelled.token)}(?!\w)"
    return [match.span() for match in re.finditer(pattern, labelled.text)]


def _encode(texts: list[LabelledText], split: Split) -> list[Encoding]:
    """Encodes without special tokens; text that looks like a special token stays text."""
    backend = Tokenizer.from_str(split.tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    encodings = backend.encode_batch([each.text for each in texts], add_special_tokens=False)
    for encoding in encodings:
        encoding.truncate(split.sequence_length - 2)
    return encodings


def _occurrences(
    texts: list[LabelledText], encodings: list[Encoding], split: Split
) -> Iterator[Occurrence]:
    for number, (labelled, encoding) in enumerate(zip(texts, encodings, strict=True)):
        starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
        for start, end in _standing(labelled):
            tokens = np.flatnonzero((starts < end) & (ends > start))
            if len(tokens) and ends[tokens[-1]] >= end:  # not cut off
                ids = encoding.ids[tokens[0] : tokens[-1] + 1]
                spelling = "|".join(split.vocabulary.texts[i] for i in ids)
                yield Occurrence(number, int(tokens[0]), int(tokens[-1]), spelling)


def _batch(encodings: list[Encoding], split: Split) -> dict[str, Tensor]:
    """Makes a batch as of the split's examples; nothing is masked, every expert is permitted."""
    begin, end = split.cls_sep
    rows = []
    for number, encoding in enumerate(encodings):
        ids = np.array([*([begin] if split.opens else []), *encoding.ids, end], dtype=np.int32)
        content = np.ones(len(ids), dtype=bool)
        content[-1] = False
        content[: split.opens] = False
        kinds = np.where(content, MaskKind.UNTOUCHED, MaskKind.SPECIAL)
        rows.append(
            {
                "example_id": number,
                "epoch": 0,
                "input_ids": ids,
                "corrupted_ids": ids,
                "mask_kind": kinds.astype(np.int8),
                "word_ids": np.where(content, np.arange(len(ids)), -1),
                "documents": np.zeros(1, dtype=np.int32),
            }
        )
        if split.examples.metadata_ids is not None:
            rows[-1]["metadata_ids"] = np.full(1, -1)
    return split.collate(rows)


def _count(
    observer: Observer, batch: dict[str, Tensor], spans: list[tuple[int, int, int]], opens: int
) -> Iterator[np.ndarray]:
    """Yields (L, E) choices of the tokens of each span (row, first, last)."""
    seen, real = observer(batch), real_positions(batch)
    experts, width = seen.experts.cpu(), batch["input_ids"].shape[1]
    for row, first, last in spans:
        places = row * width + opens + torch.arange(first, last + 1)
        chosen = experts[torch.searchsorted(real, places)]  # (tokens, L, k)
        counts = torch.zeros(chosen.shape[1], observer.num_experts + 1, dtype=torch.int32)
        slots = chosen.transpose(0, 1).flatten(1)  # (L, tokens * k)
        counts.scatter_add_(1, slots, torch.ones_like(slots, dtype=torch.int32))
        yield counts[:, :-1].numpy()


def _write(
    folder: Path, texts: list[LabelledText], found: list[Occurrence], counts: np.ndarray
) -> None:
    columns = {
        "text": [o.text for o in found],
        "group": [texts[o.text].group for o in found],
        "token": [texts[o.text].token for o in found],
        "sense": [texts[o.text].sense for o in found],
        "spelling": [o.spelling for o in found],
        "num_tokens": [o.last - o.first + 1 for o in found],
    }
    flat = pa.array(counts.reshape(-1), type=pa.int32())
    lists = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(counts.shape[1:])))
    arrays = [pa.array(columns[field.name], type=field.type) for field in SENSE_FIELDS]
    fields = [*SENSE_FIELDS, pa.field("expert_counts", lists.type)]
    table = pa.Table.from_arrays([*arrays, lists], schema=pa.schema(fields))
    pq.write_table(table, folder / SENSES_FILE, compression="zstd")
