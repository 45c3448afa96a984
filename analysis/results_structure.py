"""What topics, forms and experts have to do with each other, from a routing store to frames."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data_processors.mask_kinds import MaskKind
from ..inference.store.reader import RoutingStore
from .chapters.checkpoints.measures import routing_saturation
from .chapters.form.measures import Form, class_cells, form_information
from .chapters.knockout.measures import CHOSEN, CONTROL, knockout_effects, knockout_losses
from .chapters.paths.locality import confidence, locality
from .chapters.paths.measures import coactivation_pairs, layer_flow
from .chapters.time.conditions import condition_losses
from .chapters.time.measures import TimeResults, analyse_time
from .chapters.topic_classifier.measures import probe_input, signature_probe, topics_over_origins
from .chapters.topic_map.measures import document_points, topic_map
from .chapters.topics.origins import origin_information
from .data.documents import DocumentCounts
from .data.sample import TokenSample
from .statistics.information import entropy_bits
from .statistics.permutations import restricted_orders, topic_sums

NOT_TEXT = ("mask", "special")  # classes of other strata than untouched text


@dataclass(frozen=True)
class StructureResults:
    """Each frame's columns are told where it is made.

    Attributes:
        topic_map: `topic_map.topic_map`.
        points: `topic_map.document_points`.
        probe: `probe.signature_probe`.
        forms: `forms.form_information` of token identity and class, and topic beside them.
        classes: `forms.class_cells`.
        pairs: `coactivation.coactivation_pairs`.
        flows: `coactivation.layer_flow`, its first frame.
        flow_information: its second.
        locality: `locality.locality`.
        confidence: `locality.confidence`.
        knockout: `knockout.knockout_effects`; empty where none were recorded.
        saturation: `saturation.routing_saturation`; empty without snapshots.
        origins: `origins.origin_information`; empty where each document is its own.
        time: `time.analyse_time`; None without dates.
        conditions: `conditions.condition_losses`; empty unless a masked router was told others.
    """

    topic_map: pd.DataFrame
    points: pd.DataFrame
    probe: pd.DataFrame
    forms: pd.DataFrame
    classes: pd.DataFrame
    pairs: pd.DataFrame
    flows: pd.DataFrame
    flow_information: pd.DataFrame
    locality: pd.DataFrame
    confidence: pd.DataFrame
    knockout: pd.DataFrame
    saturation: pd.DataFrame
    origins: pd.DataFrame
    time: TimeResults | None
    conditions: pd.DataFrame


@dataclass(frozen=True)
class Resampling:
    """The one set of draws that serves every test of a report.

    Attributes:
        orders: (P, D) `permutations.document_orders`.
        weights: (B, D) `bootstrap.poisson_weights`.
        probe_permutations: how many of the orders the probe takes.
        generator: for what is drawn besides.
    """

    orders: np.ndarray
    weights: np.ndarray
    probe_permutations: int
    generator: np.random.Generator


def analyse_structure(
    store: RoutingStore,
    data: DocumentCounts,
    sample: TokenSample,
    information: pd.DataFrame,
    resampling: Resampling,
    *,
    origins: Mapping[str, str] | None,
) -> StructureResults:
    """Computes the frames; arguments as in `results.analyse_routing`."""
    generator = resampling.generator
    classes = token_classes(store)
    forms = {"token class": classes, **token_forms(store)}
    by_form = form_information(forms, data.layers, generator)
    flows, flow_information = layer_flow(store.tables["transition"], data.layers, generator)
    return StructureResults(
        topic_map=topic_map(data, generator),
        points=document_points(data, generator),
        probe=_probe(data, sample, resampling, origins),
        forms=pd.concat([topic_form(data, information), by_form], ignore_index=True),
        classes=class_cells(classes, data.layers),
        pairs=coactivation_pairs(
            store.tables["coactivation"], int(data.tokens.sum()), data.layers, data.top_k
        ),
        flows=flows,
        flow_information=flow_information,
        locality=locality(sample),
        confidence=_confidence(store, data),
        knockout=_knockout(store, data, resampling),
        saturation=routing_saturation(store.saturation, store.documents, data, resampling.weights),
        origins=origin_information(data, origins, resampling.orders),
        time=analyse_time(data, store.documents, origins, resampling.orders, resampling.weights),
        conditions=condition_losses(
            store.conditions,
            store.facts.conditions,
            store.documents,
            data,
            resampling.weights,
            origins,
        ),
    )


def token_forms(store: RoutingStore) -> dict[str, Form]:
    """Token identity: of untouched tokens, and of the tokens that the model is asked for."""
    names, tables = store.facts.type_strings[:-1], store.tables
    target = "next token" if store.facts.target == "next" else "masked target"
    return {
        "token": Form(names, tables["type_tokens"][:-1], tables["type_expert"][:-1]),
        target: Form(names, tables["target_tokens"][:-1], tables["target_expert"][:-1]),
    }


def token_classes(store: RoutingStore) -> Form:
    """Token classes of untouched text."""
    rows = [row for row, name in enumerate(store.facts.token_classes) if name not in NOT_TEXT]
    names = [store.facts.token_classes[row].replace("_", " ") for row in rows]
    return Form(names, store.tables["class_tokens"][rows], store.tables["class_expert"][rows])


def topic_form(data: DocumentCounts, information: pd.DataFrame) -> pd.DataFrame:
    """Puts topic information on the scale of `forms.form_information`."""
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


def _probe(
    data: DocumentCounts,
    sample: TokenSample,
    resampling: Resampling,
    origins: Mapping[str, str] | None,
) -> pd.DataFrame:
    groups = [origins.get(name, name) for name in data.ids] if origins else None
    probe, rows = probe_input(data, sample, groups, resampling.generator)
    names = [groups[row] for row in rows] if groups else list(rows)
    orders = restricted_orders(resampling.orders[: resampling.probe_permutations], rows)
    permuted = topics_over_origins(names, probe.topic_ids, orders)
    return signature_probe(probe, permuted, resampling.weights[:, rows], len(set(names)))


def _confidence(store: RoutingStore, data: DocumentCounts) -> pd.DataFrame:
    names = ("entropy", "mass", "margin")
    sums = {name: store.tables[f"topic_mask_kind_{name}"][:, MaskKind.UNTOUCHED] for name in names}
    tokens = store.tables["topic_mask_kind_tokens"][:, MaskKind.UNTOUCHED]
    return confidence(sums, tokens, store.topics, data.layers)


def _knockout(store: RoutingStore, data: DocumentCounts, resampling: Resampling) -> pd.DataFrame:
    frame = store.knockout
    chosen = frame[frame["kind"] == CHOSEN].drop_duplicates(["layer", "expert", "chosen_for"])
    nothing = pd.DataFrame(columns=["layer", "expert", "topic", "effect"])
    if chosen.empty:
        return nothing
    losses, rows = knockout_losses(frame, store.documents, data)
    names = [store.topics[topic] for topic in chosen["chosen_for"]]
    chosen = chosen.assign(topic=names)[[name in losses.topics for name in names]]
    if chosen.empty or len(losses.topics) < 2:
        return nothing
    pairs = chosen[["layer", "expert", "load"]].assign(
        topic_id=[losses.topics.index(name) for name in chosen.topic]
    )
    controls = frame[frame["kind"] == CONTROL].drop_duplicates(["layer", "expert"])
    weights, permutations = resampling.weights[:, rows], len(resampling.orders)
    return knockout_effects(losses, pairs, controls, weights, permutations, resampling.generator)
