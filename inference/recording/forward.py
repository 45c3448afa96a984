"""Runs a masked or causal language model, ours or others', and returns what the recorder needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ...model.routing import Routing
from .capture import RoutingCapture
from .recorder import Observation, real_positions, true_ids

OWN_INPUTS = ("segment_ids", "position_ids", "metadata_ids")


class Observer:
    """Runs batches and reports each token's routing and each label's loss.

    A decoder's label is scored at the position of the token before it.
    """

    def __init__(
        self, network: PreTrainedModel, capture: RoutingCapture, device: torch.device
    ) -> None:
        self.network, self.device, self._capture = network, device, capture
        self.layers, self.num_experts = capture.layers, capture.num_experts
        self.is_ours = network.config.model_type == "moescope"
        self.is_causal = predicts_next(network)

    @torch.inference_mode()
    def __call__(self, batch: Mapping[str, Tensor]) -> Observation:
        """Runs a batch as the collator made it."""
        output, logits, loss = self._run(batch, with_routing=self.is_ours)
        real = self._to_device(real_positions(batch))
        experts, weights = self._capture.take(real, batch["input_ids"].numel())
        return Observation(
            experts=experts,
            weights=weights,
            confidence=router_confidence(output.routing, real) if self.is_ours else None,
            label_positions=batch["label_positions"],
            loss=loss,
            logits=logits,
            predicts_next=self.is_causal,
        )

    def num_slots(self, batch: Mapping[str, Tensor]) -> int:
        """Returns the slots of a token, as a batch shows them; configs name k in many ways."""
        return int(self(batch).experts.shape[-1])

    @torch.inference_mode()
    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Runs a batch; returns the loss (M,) in nats of each label, on the device."""
        return self._run(batch, with_routing=False)[2]

    def _run(
        self, batch: Mapping[str, Tensor], *, with_routing: bool
    ) -> tuple[Any, Tensor, Tensor]:
        """Returns the model's output, and scores (M, V) and loss (M,) of the labels."""
        targets = true_ids(batch)[batch["label_positions"]]
        rows = batch["label_positions"] - 1 if self.is_causal else batch["label_positions"]
        on_device = self._to_device(rows)
        names = ["input_ids", "attention_mask"]
        options: dict[str, Any] = {"output_routing": True} if with_routing else {}
        if self.is_ours:
            names += [name for name in OWN_INPUTS if name in batch]
            if not self.is_causal:  # the head runs where a label is, nowhere else
                options["label_positions"] = on_device
        inputs = {name: self._to_device(batch[name]) for name in names}
        output = self.network(**inputs, **options)
        logits = output.logits.to(self.device).flatten(0, -2)
        if len(logits) != len(rows):
            logits = logits[on_device]
        loss = F.cross_entropy(logits.float(), self._to_device(targets), reduction="none")
        return output, logits, loss

    def _to_device(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)


def predicts_next(network: PreTrainedModel) -> bool:
    """Whether a language model is a decoder."""
    return not type(network).__name__.endswith("ForMaskedLM")


def router_confidence(routing: Sequence[Routing], real: Tensor) -> Tensor:
    """Returns (N, L, 3): three measures of each router's distribution p at the real tokens.

    They are the entropy in nats; the mass, which is the sum of p over the chosen experts; and the
    margin, which is the smallest p of a chosen expert minus the largest p of another. The margin is
    below 0 where noise, bias or capacity overruled p, and 0 where nothing was chosen.
    """
    return torch.stack([_confidence(layer, real) for layer in routing], 1)


def _confidence(routing: Routing, real: Tensor) -> Tensor:
    # id E, an empty slot, gets p = inf below, so that it is never the least likely choice
    p_NE, ids_Nk = routing.probabilities[real], routing.expert_ids[real]
    entropy = torch.special.entr(p_NE).sum(-1)
    chosen = F.pad(p_NE, (0, 1), value=torch.inf).gather(-1, ids_Nk)
    weakest = chosen.amin(-1)
    mass = chosen.masked_fill(chosen.isinf(), 0.0).sum(-1)
    other = F.pad(p_NE, (0, 1)).scatter(-1, ids_Nk, 0.0).amax(-1)
    margin = torch.where(weakest.isinf(), 0.0, weakest - other)
    return torch.stack([entropy, mass, margin], -1)
