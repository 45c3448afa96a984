"""Sums choices and losses by document; documents are the unit of every significance test."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...configs.errors import UserError
from ...data_processors.mask_kinds import MaskKind
from .tables import FIXED_POINT, RoutedTokens, add_ones, expert_slots, to_fixed_point


class DocumentSums:
    """Counts and losses of documents `first` … `last`, summed on the model's device."""

    def __init__(
        self,
        first: int,
        last: int,
        *,
        num_layers: int,
        num_experts: int,
        device: torch.device | str,
    ) -> None:
        self.first = first
        self.num_documents = last - first + 1
        self._num_experts = num_experts
        shape = (self.num_documents, 2, num_layers, num_experts + 1)
        self._experts = torch.zeros(shape, dtype=torch.int64, device=device)
        self._loss = torch.zeros(self.num_documents, dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._host = {
            name: np.zeros(self.num_documents, dtype=np.int64)
            for name in ("num_recorded", "num_untouched", "num_masked", "num_labels")
        }

    def add_routing(self, tokens: RoutedTokens, document: Tensor) -> None:
        """Counts choices; `document` (N,) is each token's document number, on the device."""
        slots = expert_slots(tokens.experts, self._num_experts)
        width = self._experts[0, 0].numel()
        for which, rows in enumerate((tokens.untouched, tokens.masked)):
            cells = ((document[rows] - self.first) * 2 + which) * width
            add_ones(self._experts, (cells[:, None] + slots[rows]).view(-1))

    def add_tokens(self, mask_kind: np.ndarray, document: np.ndarray, labelled: np.ndarray) -> None:
        """Counts tokens on the host; all arrays (N,), `labelled` boolean."""
        local = document - self.first
        for name, chosen in {
            "num_recorded": local,
            "num_untouched": local[mask_kind == MaskKind.UNTOUCHED],
            "num_masked": local[mask_kind == MaskKind.MASKED],
            "num_labels": local[labelled],
        }.items():
            self._host[name] += np.bincount(chosen, minlength=self.num_documents)

    def add_loss(self, loss: Tensor, document: Tensor) -> None:
        """Sums `loss` (M,), nats per label, over `document` (M,)."""
        self._finite &= loss.isfinite().all()
        self._loss.scatter_add_(0, document - self.first, to_fixed_point(loss))

    def rows(self) -> tuple[np.ndarray, Mapping[str, Any], np.ndarray, np.ndarray]:
        """Returns (document numbers, their numeric columns, untouched and masked counts (D, L, E)).

        Documents without a recorded token are left out; `loss` is NaN without a label.

        Raises:
            UserError: a loss that is no number, so the model's routing means nothing.
        """
        if not self._finite:
            last = self.first + self.num_documents - 1
            raise UserError(
                f"documents {self.first} to {last}: the model's loss is not finite; it has "
                "diverged, so its routing means nothing. Record another checkpoint"
            )
        kept = np.flatnonzero(self._host["num_recorded"])
        host = {name: values[kept] for name, values in self._host.items()}
        labels = host["num_labels"]
        total = self._loss.cpu().numpy()[kept] / FIXED_POINT
        loss = np.where(labels > 0, total / np.maximum(labels, 1), np.nan)
        experts = self._experts.cpu().numpy()[kept, ..., :-1]
        columns = {
            "loss": loss,
            "num_labels": labels,
            "num_untouched": host["num_untouched"],
            "num_masked": host["num_masked"],
        }
        return kept + self.first, columns, experts[:, 0], experts[:, 1]
