"""Contingency tables of routing, accumulated in a stream: exact, additive, bounded.

Shape suffixes: N tokens, L layers, E experts, k slots, T topics, S mask kinds, V types, C classes,
P position bins, K places. On the way every expert axis has E + 1 columns, the last for slots
that no expert executed, so that nothing has to be filtered out on the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data_processors.mask_kinds import MASK_KINDS

FIXED_POINT = 2**30  # losses and confidences are summed as integers: the same bits in any order
CONFIDENCE = ("entropy", "mass", "margin")


class RoutedTokens(NamedTuple):
    """N real tokens, what is known of them, and what each layer did; all on one device."""

    experts: Tensor
    """(N, L, k) int64 chosen experts, first choice first; E = empty slot, after all others."""
    confidence: Tensor | None
    """(N, L, 3), the last axis as CONFIDENCE; None where the router's distribution is unknown."""
    topic: Tensor
    """(N,) int64 topic id of the token's document."""
    mask_kind: Tensor
    """(N,) int64 `MaskKind` in [0, S)."""
    input_type: Tensor
    """(N,) int64 row of the token that the model saw, in [0, V]."""
    token_class: Tensor
    """(N,) int64 class of the token that the model saw."""
    place: Tensor
    """(N,) int64 row in [0, K) of a natural token, ordered as `TableSizes.num_places` says."""
    untouched: Tensor
    """(U,) int64 rows of untouched tokens; listed on the host: no wait for the device."""
    masked: Tensor
    """(M,) int64 rows of [MASK]."""
    natural: Tensor
    """(W,) int64 rows of all but replaced and kept tokens."""
    targets: Tensor
    """(X,) int64 rows where the model is asked for a token: masked ones, or those before a next."""
    target_type: Tensor
    """(X,) int64 row, in [0, V], of the token that is asked for."""


@dataclass(frozen=True)
class TableSizes:
    """Lengths of the tables' axes.

    `num_slots` is what the record of a token and layer holds: `top_k`, or E for a router that
    gives every token its own number of experts. `num_types` excludes the row of all other types;
    `num_special` counts the special tokens.
    """

    num_topics: int
    num_layers: int
    num_experts: int
    num_slots: int
    num_types: int
    num_classes: int
    num_positions: int
    num_special: int
    top_k: int

    @property
    def num_places(self) -> int:
        """K: untouched tokens by position bin, masked ones by position bin, special ones by id."""
        return 2 * self.num_positions + self.num_special


class RoutingTables:
    """All tables of the store that are sums over tokens."""

    def __init__(self, sizes: TableSizes, device: torch.device | str = "cpu") -> None:
        self.sizes = sizes
        self.has_confidence = True
        self._sums = {
            name: torch.zeros(shape, dtype=torch.int64, device=device)
            for name, shape in self.shapes(sizes).items()
        }

    @staticmethod
    def shapes(sizes: TableSizes) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every table of sums, 64-bit integers all."""
        L, E1 = sizes.num_layers, sizes.num_experts + 1
        rows = {
            "topic_mask_kind": sizes.num_topics * len(MASK_KINDS),
            "type": sizes.num_types + 1,
            "target": sizes.num_types + 1,
            "class": sizes.num_classes,
            "place": sizes.num_places,
        }
        shapes: dict[str, tuple[int, ...]] = {
            "confidence": (rows["topic_mask_kind"], L, len(CONFIDENCE)),
            "place_entropy": (rows["place"], L),
            "coactivation": (L, E1, E1),
            "transition": (max(L - 1, 0), E1, E1),
        }
        for name, count in rows.items():
            shapes |= {f"{name}_expert": (count, L, E1), f"{name}_tokens": (count,)}
        return shapes

    def add(self, tokens: RoutedTokens) -> None:
        """Counts a batch of tokens."""
        sizes = self.sizes
        assert tokens.experts.shape[1:] == (sizes.num_layers, sizes.num_slots), tokens.experts.shape
        slots = expert_slots(tokens.experts, sizes.num_experts)
        rows = tokens.topic * len(MASK_KINDS) + tokens.mask_kind
        self._count("topic_mask_kind", rows, slots)
        self._count("type", tokens.input_type[tokens.untouched], slots[tokens.untouched])
        self._count("target", tokens.target_type, slots[tokens.targets])
        natural, place = slots[tokens.natural], tokens.place[tokens.natural]
        self._count("class", tokens.token_class[tokens.natural], natural)
        self._count("place", place, natural)
        self._count_pairs(tokens.experts[tokens.untouched])
        if tokens.confidence is None:
            self.has_confidence = False
        else:
            confidence = to_fixed_point(tokens.confidence)
            self._sums["confidence"].index_add_(0, rows, confidence)
            entropy = confidence[tokens.natural, :, 0]
            self._sums["place_entropy"].index_add_(0, place, entropy)

    def merge(self, sums: Mapping[str, np.ndarray], *, has_confidence: bool) -> None:
        """Adds what `sums` gave for another part of the same split; exact, in any order."""
        self.has_confidence &= has_confidence
        for name, total in self._sums.items():
            total += torch.from_numpy(sums[name]).to(total.device)

    def sums(self) -> dict[str, np.ndarray]:
        """Returns the sums so far, on the host, for `merge`."""
        return {name: total.cpu().numpy() for name, total in self._sums.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the store's tables (docs/contracts.md) as numpy arrays."""
        sums = self.sums()
        T, S, L = self.sizes.num_topics, len(MASK_KINDS), self.sizes.num_layers
        by_topic = sums["topic_mask_kind_expert"].reshape(T, S, L, -1)
        unknown = 1.0 if self.has_confidence else np.nan
        confidence = sums["confidence"].reshape(T, S, L, -1) / FIXED_POINT * unknown
        named = dict(zip(CONFIDENCE, np.moveaxis(confidence, -1, 0), strict=True))
        return {
            "topic_mask_kind_expert": by_topic[..., :-1],
            "topic_mask_kind_tokens": sums["topic_mask_kind_tokens"].reshape(T, S),
            **{f"topic_mask_kind_{name}": values for name, values in named.items()},
            "type_expert": sums["type_expert"][..., :-1],
            "type_tokens": sums["type_tokens"],
            "target_expert": sums["target_expert"][..., :-1],
            "target_tokens": sums["target_tokens"],
            "class_expert": sums["class_expert"][..., :-1],
            "class_tokens": sums["class_tokens"],
            "coactivation": sums["coactivation"][:, :-1, :-1],
            "transition": sums["transition"][:, :-1, :-1],
            "place_expert": sums["place_expert"][..., :-1],
            "place_tokens": sums["place_tokens"],
            "place_entropy": sums["place_entropy"] / FIXED_POINT * unknown,
            "dropped": by_topic[..., -1].sum((0, 1)) * (self.sizes.num_slots == self.sizes.top_k),
        }

    def _count(self, table: str, rows_N: Tensor, slots_NK: Tensor) -> None:
        """Adds one to (row, layer, expert) for every slot and one to each token's row."""
        counts, tokens = self._sums[f"{table}_expert"], self._sums[f"{table}_tokens"]
        add_ones(counts, (rows_N[:, None] * counts[0].numel() + slots_NK).view(-1))
        add_ones(tokens, rows_N)

    def _count_pairs(self, experts_ULk: Tensor) -> None:
        """Counts which experts are chosen together, and the first choices of adjacent layers."""
        U, L, _ = experts_ULk.shape
        width = self.sizes.num_experts + 1
        chosen_UE = torch.zeros((U, width), device=experts_ULk.device)
        for layer in range(L):
            # (U, E + 1) one-hot of the choices; its Gram matrix counts pairs, (E + 1, E + 1)
            chosen_UE.zero_().scatter_(1, experts_ULk[:, layer], 1.0)
            # float32 counts a batch exactly: far fewer than 2**24 tokens
            self._sums["coactivation"][layer] += (chosen_UE.T @ chosen_UE).long()
        if L > 1:
            first = experts_ULk[..., 0]
            layers = torch.arange(L - 1, device=first.device) * width**2
            # flat cell (layer, first choice here, first choice in the next layer)
            codes = first[:, :-1] * width + first[:, 1:] + layers
            add_ones(self._sums["transition"], codes.reshape(-1))


def expert_slots(experts_NLk: Tensor, num_experts: int) -> Tensor:
    """(N, L*k) flat cell of each slot in a (L, E + 1) table."""
    layers = torch.arange(experts_NLk.shape[1], device=experts_NLk.device) * (num_experts + 1)
    return (experts_NLk + layers[:, None]).flatten(1)


def to_fixed_point(values: Tensor) -> Tensor:
    """Returns `values` as int64 multiples of 1 / `FIXED_POINT`, whose sums depend on no order."""
    return (values.double() * FIXED_POINT).round_().long()


def add_ones(counts: Tensor, codes: Tensor) -> None:
    """Adds 1 at each flat index of a contiguous int64 table, in place and without waiting."""
    one = torch.ones((), dtype=counts.dtype, device=counts.device)
    counts.view(-1).scatter_add_(0, codes, one.expand(codes.shape))
