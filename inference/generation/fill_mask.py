"""Finds the tokens that an encoder thinks likeliest at each [MASK] of a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..checkpoints.loaded_model import LoadedModel, TokenUse


@dataclass(frozen=True)
class Candidate:
    """A token that may stand at a [MASK], and its probability there."""

    token_id: int
    token: str
    probability: float


def fill_masks(
    model: LoadedModel, prompt_ids: Sequence[int], num_candidates: int, **inputs: Any
) -> tuple[list[TokenUse], list[list[Candidate]]]:
    """Returns the prompt's tokens with their experts, and the likeliest tokens of each [MASK].

    The masks are filled one by one, each as if the others stayed masked.
    """
    output, experts, weights = model.run(prompt_ids, **inputs)
    masks = [i for i, token in enumerate(prompt_ids) if token == model.tokenizer.mask_token_id]
    probabilities = output.logits[0, masks].float().softmax(-1)
    best = torch.topk(probabilities, min(num_candidates, probabilities.shape[-1]))
    candidates = [
        [
            Candidate(token_id, model.read(token_id), round(probability, 6))
            for token_id, probability in zip(ids, row, strict=True)
        ]
        for ids, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    return list(model.reader(len(prompt_ids))(prompt_ids, experts, weights)), candidates
