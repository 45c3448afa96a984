"""Every number of a report, from a routing store to frames."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..configs.schema_report import Report
from ..inference.store.reader import RoutingStore
from .chapters.context.measures import beyond_vocabulary
from .chapters.load.measures import expert_load, layer_balance, stratum_load
from .chapters.position.measures import masked_experts, router_entropy
from .chapters.position.substrata import substratum_routing
from .chapters.senses.measures import SenseResults, sense_routing
from .chapters.topics.cells import topic_expert_cells
from .chapters.topics.information import topic_information, topic_null
from .chapters.vocabulary.measures import TypeCounts, top_tokens, vocabulary_specialisation
from .data.documents import document_counts
from .data.sample import token_sample
from .results_structure import Resampling, StructureResults, analyse_structure
from .statistics.bootstrap import poisson_weights
from .statistics.permutations import document_orders, permuted_topics, restricted_orders


@dataclass(frozen=True)
class RoutingResults:
    """What the routing store says; each frame's columns are told where it is made.

    Attributes:
        topics: names, in the order of the store.
        layers: layer numbers in the model.
        num_experts: experts per layer.
        top_k: experts chosen per token.
        alpha: family-wise error rate of the marks.
        permutations: document permutations behind the p-values.
        load: `load.expert_load`.
        balance: `load.layer_balance`.
        strata: `load.stratum_load`.
        information: `information.topic_information`.
        beyond: `beyond_vocabulary.beyond_vocabulary`.
        cells: `topics.topic_expert_cells`.
        masked: `strata.masked_experts`.
        entropy: `strata.router_entropy`.
        tokens: `vocabulary.top_tokens`.
        vocabulary: `vocabulary.vocabulary_specialisation`.
        structure: what experts, topics and forms have to do with each other.
        senses: `senses.sense_routing`; empty where none were recorded.
        substrata: `substrata.substratum_routing`; empty where it was not recorded.
    """

    topics: tuple[str, ...]
    layers: tuple[int, ...]
    num_experts: int
    top_k: int
    alpha: float
    permutations: int
    load: pd.DataFrame
    balance: pd.DataFrame
    strata: pd.DataFrame
    information: pd.DataFrame
    beyond: pd.DataFrame
    cells: pd.DataFrame
    masked: pd.DataFrame
    entropy: pd.DataFrame
    tokens: pd.DataFrame
    vocabulary: pd.DataFrame
    structure: StructureResults
    senses: SenseResults
    substrata: pd.DataFrame


def analyse_routing(
    store: RoutingStore, settings: Report, seed: int, origins: Mapping[str, str] | None = None
) -> RoutingResults:
    """Computes every quantity of the report; the same store, settings and seed give the same.

    Args:
        store: the routing store.
        settings: `report` of the config.
        seed: of permutations, bootstrap and nulls.
        origins: document id → group of documents that must not straddle the folds of the probe;
            None = each document by itself.

    Raises:
        UserError: the store holds nothing to analyse.
    """
    data = document_counts(store)
    generator = np.random.default_rng(seed)
    orders = document_orders(generator, len(data.ids), settings.permutations)
    weights = poisson_weights(data.ids, settings.bootstrap, seed)
    null = topic_null(data, permuted_topics(orders, data.topic_ids))
    sample = token_sample(store, data)
    sampled = [data.ids[row] for row in sample.rows]
    information = topic_information(data, null, weights)
    types = type_counts(store)
    tables, strata = store.tables, store.facts.mask_kinds
    return RoutingResults(
        topics=data.topics,
        layers=data.layers,
        num_experts=data.num_experts,
        top_k=data.top_k,
        alpha=settings.alpha,
        permutations=settings.permutations,
        load=expert_load(data, weights),
        balance=layer_balance(data, weights),
        strata=stratum_load(
            tables["topic_mask_kind_expert"], tables["topic_mask_kind_tokens"], strata, data.layers
        ),
        information=information,
        beyond=beyond_vocabulary(
            sample,
            restricted_orders(orders, sample.rows),
            [origins.get(name, name) for name in sampled] if origins else None,
        ),
        cells=topic_expert_cells(data, weights, null.largest_cell),
        masked=masked_experts(data, weights),
        entropy=router_entropy(
            tables["topic_mask_kind_entropy"].sum(axis=0),
            tables["topic_mask_kind_tokens"],
            strata,
            data.layers,
            data.num_experts,
        ),
        tokens=top_tokens(
            types,
            tables["type_expert"].sum(axis=0),
            int(tables["type_tokens"].sum()),
            settings.top_tokens,
        ),
        vocabulary=vocabulary_specialisation(types, generator),
        structure=analyse_structure(
            store,
            data,
            sample,
            information,
            Resampling(orders, weights, settings.probe_permutations, generator),
            origins=origins,
        ),
        senses=sense_routing(
            store.senses,
            store.sense_counts,
            data.layers,
            settings.permutations,
            np.random.default_rng([seed, len(store.senses)]),  # the other draws stay as they are
        ),
        substrata=substratum_routing(
            tables["place_expert"],
            tables["place_tokens"],
            tables["place_entropy"],
            store.facts.places,
            data.layers,
        ),
    )


def type_counts(store: RoutingStore) -> TypeCounts:
    """Takes the token types with a row of their own out of a store (not the last row, "other")."""
    return TypeCounts(
        names=store.facts.type_strings[:-1],
        tokens=store.tables["type_tokens"][:-1],
        counts=store.tables["type_expert"][:-1],
        layers=store.layers,
        top_k=store.top_k,
    )
