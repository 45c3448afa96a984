"""The chapter of examples: whole documents token by token, for the viewer in the page."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from ....configs.errors import UserError
from ....inference.store.reader import RoutingStore
from ...data.design import Design
from ...html.page import LOOK_UP, Section
from ...html.records import rows
from ...html.text import printable, visible
from .measures import ExamplesRecord as Record

MOST_BYTES = 250_000  # of the page, for all examples
BYTES_PER_SLOT, BYTES_PER_TOKEN = 3, 8  # expert and weight in base64; the token itself
WEIGHT_STEPS = 255  # a weight is one byte of the page
NO_PREDICTION = -1


def examples_section(record: Record, design: Design) -> Section | None:
    """Builds the token viewer's chapter; None where no document is stored token by token.

    The first documents of each topic in the store are shown, fewer than asked for where they
    would take more than 0.25 MB of the page.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    store = record.store
    chosen = _choose(store, record.per_topic)
    if not len(chosen):
        return None
    used = store.sample["document"].isin(chosen).to_numpy()
    viewer = viewer_data(store, np.flatnonzero(used), read_texts(store, record.tokenizer))
    count = int(used.sum())
    return Section(
        "examples",
        "Examples",
        f"{len(chosen):,} of the {store.facts.num_documents:,} documents, {count:,} tokens, each "
        "in the colour of its first expert in the chosen layer. Hover, tap, or move with the "
        "arrow keys to see every expert with its weight. The documents are the first of each "
        "topic: they illustrate, the chapters above prove.",
        viewer=viewer,
        group=LOOK_UP,
    )


def _choose(store: RoutingStore, per_topic: int) -> list[int]:
    """Takes the first sampled documents of the topics in turn, until the page has enough."""
    sizes = store.sample["document"].value_counts()
    sampled = store.documents[store.documents["document"].isin(sizes.index)]
    turns = sampled.assign(turn=sampled.groupby("topic_id").cumcount())
    turns = turns[turns.turn < per_topic].sort_values(["turn", "topic_id"])
    slots = len(store.layers) * store.sample_experts.shape[2] * BYTES_PER_SLOT + BYTES_PER_TOKEN
    fits = turns["document"].map(sizes).cumsum() * slots <= MOST_BYTES
    chosen = turns[fits].sort_values(["topic_id", "document"])["document"]
    return [int(number) for number in chosen]


def read_texts(store: RoutingStore, tokenizer: Path) -> "TokenTexts":
    """Readable texts of token ids: the store's, and the tokenizer's for rare and special ids.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    facts = store.facts
    names = dict(zip(facts.types, facts.type_strings[:-1], strict=True))
    spelt = any(name.startswith(" ") for name in names.values())
    if not spelt:  # word pieces do not carry their spaces
        goes_on = [name in ("continuation", "punctuation") for name in facts.token_classes]
        classes = dict(zip(facts.types, facts.type_classes, strict=True))
        names = {i: text if goes_on[classes[i]] else f" {text}" for i, text in names.items()}
    if not tokenizer.exists():
        return TokenTexts(names, None)
    try:
        return TokenTexts(names, Tokenizer.from_file(str(tokenizer)))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"{tokenizer}: not a tokenizer ({error}); rerun `moescope mask`") from error


class TokenTexts:
    """Reads token ids."""

    def __init__(self, names: Mapping[int, str], tokenizer: Tokenizer | None) -> None:
        self._names, self._tokenizer = names, tokenizer

    def __getitem__(self, token_id: int) -> str:
        name = self._names.get(token_id)
        if name is None and self._tokenizer is not None:
            name = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return printable(name or f"⟨{token_id}⟩")


def viewer_data(store: RoutingStore, used: np.ndarray, texts: TokenTexts) -> dict[str, Any]:
    """Packs tokens for the viewer.

    Args:
        store: the routing store.
        used: rows of the sample, whole documents.
        texts: of the token ids.

    Returns:
        `tokens` (texts), `mask_kinds`, `experts` (E), `slots` (k), `bytes` (of an expert number),
        `unit` (weight of one step), and `documents`, each with `id`, `topic`, `true` and
        `input` (indices into `tokens`; `input` only at the positions where it differs),
        `mask_kinds` (a digit a token), `predicted` (position → token, loss), and, row-major (token,
        layer, slot) in base64, `chosen` and `weights`; E = slot that no expert executed.
    """
    sample = store.sample.iloc[used]
    predicted = sample["predicted_id"].fillna(NO_PREDICTION).to_numpy(np.int64)
    sample = sample.assign(predicted_id=predicted)
    ids = np.unique(np.concatenate([sample[c] for c in ("token_id", "input_id", "predicted_id")]))
    ids = ids[ids >= 0]
    unit = max(1.0, float(np.nan_to_num(store.sample_weights[used]).max())) / WEIGHT_STEPS
    width = 1 if store.num_experts < 256 else 2
    experts = store.sample_experts[used].astype("<u2" if width == 2 else "u1")
    weights = np.rint(np.nan_to_num(store.sample_weights[used]) / unit).clip(0).astype("u1")
    documents = store.documents.set_index("document")
    packed = []
    for number, own in _documents(sample):
        facts = documents.loc[number]
        packed.append(
            {
                "id": printable(str(facts["id"])),
                "topic": visible(str(facts["topic"])),
                **_tokens(sample.iloc[own], ids),
                "chosen": base64.b64encode(experts[own].tobytes()).decode(),
                "weights": base64.b64encode(weights[own].tobytes()).decode(),
            }
        )
    return {
        "tokens": [texts[int(token_id)] for token_id in ids],
        "mask_kinds": list(store.facts.mask_kinds),
        "experts": store.num_experts,
        "slots": store.sample_experts.shape[2],
        "bytes": width,
        "unit": unit,
        "documents": packed,
    }


def _documents(sample: pd.DataFrame) -> Sequence[tuple[int, np.ndarray]]:
    """Splits a sample into (document, its rows by position)."""
    numbers = sample["document"].to_numpy()
    order = np.lexsort((sample["position"].to_numpy(), numbers))
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return [(int(numbers[part[0]]), part) for part in np.split(order, starts[1:])]


def _tokens(own: pd.DataFrame, ids: np.ndarray) -> dict[str, Any]:
    true, seen = (np.searchsorted(ids, own[c].to_numpy()) for c in ("token_id", "input_id"))
    kinds = own["mask_kind"].to_numpy()
    labelled = own.assign(place=range(len(own)))[
        own["loss"].notna() & (own["predicted_id"] > NO_PREDICTION)
    ]
    return {
        "true": true.tolist(),
        "input": {int(place): int(seen[place]) for place in np.flatnonzero(seen != true)},
        "mask_kinds": "".join(str(kind) for kind in kinds),
        "predicted": {
            int(row.place): [int(np.searchsorted(ids, row.predicted_id)), round(row.loss, 3)]
            for row in rows(labelled)
        },
    }
