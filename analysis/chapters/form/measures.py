"""E7, form: what the token itself, its class and the topic each tell about the expert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...data.token_types import NORMAL_95, TypeCounts, class_counts, target_counts, type_counts
from ...statistics.draws import Draws
from ...statistics.information import entropy_bits, mutual_information_bits
from ...statistics.permutations import topic_sums

DRAWS = 5  # of the null


def largest_share(load_bits: float, top_k: int) -> float:
    """The most that U can be when k experts share a token: 1 − log2 k / H(e).

    What decides a token's experts leaves open which of the k a choice is.
    """
    return 1 - float(np.log2(top_k)) / load_bits if load_bits > 0 else float("nan")


def form_information(
    forms: Mapping[str, TypeCounts], layers: Sequence[int], generator: np.random.Generator
) -> pd.DataFrame:
    """How much of the routing each property of the token tells: Theil's U, corrected for chance.

    U = I(x; e) / H(e), minus its mean when every value draws its choices from the layer's load.

    Args:
        forms: what the tokens are sorted by → choices; values seen fewer than 10 times are left
            out.
        layers: layer numbers (L).
        generator: draws the null.

    Returns:
        One row per form and layer: `by`, `layer`, `plug_in_bits`, `null_bits`, `bits` (corrected),
        `load_bits` (H(e)), `share` (U, corrected; NaN where H(e) is 0), `values`, `tokens`. Forms
        without a frequent value are left out.
    """
    records = []
    for by, form in forms.items():
        kept = form.frequent()
        if not len(kept.names):
            continue
        for position, layer in enumerate(layers):
            counts = kept.counts[:, position]
            load = counts.sum(axis=0) / max(counts.sum(), 1)
            drawn = [generator.multinomial(counts.sum(axis=1), load) for _ in range(DRAWS)]
            null = float(np.mean([mutual_information_bits(table) for table in drawn]))
            plug_in = mutual_information_bits(counts)
            total = float(entropy_bits(load))
            records.append(
                {
                    "by": by,
                    "layer": layer,
                    "plug_in_bits": plug_in,
                    "null_bits": null,
                    "bits": plug_in - null,
                    "load_bits": total,
                    "share": (plug_in - null) / total if total > 0 else np.nan,
                    "values": len(kept.names),
                    "tokens": int(kept.tokens.sum()),
                }
            )
    columns = ["by", "layer", "bits", "load_bits", "share", "values", "tokens"]
    return pd.DataFrame(records) if records else pd.DataFrame(columns=columns)


def class_cells(classes: TypeCounts, layers: Sequence[int]) -> pd.DataFrame:
    """Share of each token class that chose each expert, against all tokens of the table.

    Returns:
        One row per class seen at least 10 times, layer and expert: `share` of the class's tokens,
        `base_share` (all classes), `log2_ratio` (one average token added to the class) with a 95%
        binomial interval `low`, `high` (tokens as independent draws), `tokens`.
    """
    kept = classes.frequent()
    base = kept.counts.sum(axis=0) / max(kept.tokens.sum(), 1)  # (L, E)
    smoothed = kept.counts + base
    shares = smoothed / (kept.tokens + 1)[:, None, None]
    safe = np.where(base > 0, base, 1)
    ratio = np.log2(np.where(base > 0, shares, 1) / safe)
    error = np.sqrt(np.maximum(1 - shares, 0) / np.where(base > 0, smoothed, 1)) / np.log(2)
    index = pd.MultiIndex.from_product(
        [kept.names, layers, range(kept.counts.shape[2])], names=["class", "layer", "expert"]
    )
    columns = {
        "share": kept.counts / np.maximum(kept.tokens, 1)[:, None, None],
        "base_share": np.broadcast_to(base, shares.shape),
        "log2_ratio": ratio,
        "low": ratio - NORMAL_95 * error,
        "high": ratio + NORMAL_95 * error,
        "tokens": np.broadcast_to(kept.tokens[:, None, None], shares.shape),
    }
    return pd.DataFrame({name: x.ravel() for name, x in columns.items()}, index).reset_index()


@dataclass(frozen=True)
class FormRecord:
    """What the routing goes by: topic, class or token.

    Attributes:
        forms: `form_information` of token identity and class, and topic beside them.
        classes: `class_cells`.
    """

    forms: pd.DataFrame
    classes: pd.DataFrame


def measure_form(run: RunData, draws: Draws, information: pd.DataFrame) -> FormRecord:
    """Computes the record."""
    store, layers = run.store, run.documents.layers
    classes = class_counts(store)
    target = "next token" if store.facts.target == "next" else "masked target"
    forms = {"token class": classes, "token": type_counts(store), target: target_counts(store)}
    by_form = form_information(forms, layers, draws.generator)
    topic = topic_form(run.documents, information)
    return FormRecord(
        forms=pd.concat([topic, by_form], ignore_index=True),
        classes=class_cells(classes, layers),
    )


def topic_form(data: DocumentCounts, information: pd.DataFrame) -> pd.DataFrame:
    """Puts topic information on the scale of `form_information`."""
    sums = topic_sums(data.counts, data.topic_ids, len(data.topics)).astype(float)
    shares = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1)
    load_bits = entropy_bits(shares.mean(axis=0))  # (L), topics weighted equally
    return pd.DataFrame(
        {
            "by": "topic",
            "layer": information.layer,
            "plug_in_bits": information.plug_in_bits,
            "null_bits": information.null_bits,
            "bits": information.bits,
            "load_bits": load_bits,
            "share": information.bits / np.where(load_bits > 0, load_bits, np.nan),
            "values": len(data.topics),
            "tokens": information.tokens,
        }
    )


def forms_by_layer(record: FormRecord) -> pd.DataFrame:
    """The numbers of each layer that a summary holds: shares of the routing's entropy."""
    names = {"topic": "topic_entropy_share", "token class": "class_share", "token": "token_share"}
    table = record.forms[record.forms.by.isin(names)].pivot(
        index="layer", columns="by", values="share"
    )
    return table.reindex(columns=list(names)).rename(columns=names).reset_index()
