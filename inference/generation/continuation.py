"""Continues a prompt with a decoder, token by token, with the experts of each token."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ...configs.errors import UserError
from ...configs.schema_generate import Generate
from ..checkpoints.loaded_model import LoadedModel, TokenUse

ALMOST_ZERO = 1e-4  # scores divided by a lower temperature overflow


class TokenSampler:
    """Draws the next token; the settings' `temperature` 0 takes the likeliest."""

    def __init__(self, settings: Generate, generator: torch.Generator) -> None:
        self._generator = generator
        self._greedy = settings.temperature < ALMOST_ZERO
        self._warpers = LogitsProcessorList()
        if not self._greedy:
            self._warpers.append(TemperatureLogitsWarper(float(settings.temperature)))
        if settings.top_k is not None:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(settings.top_p))

    def __call__(self, logits: Tensor) -> int:
        """Returns a token id from scores (V,); drawn on the host, alike on every device.

        Raises:
            UserError: scores that are no numbers, as of weights that diverged.
        """
        scores = logits.float().cpu()[None]
        if scores.isnan().any():
            raise UserError("the model's scores are no numbers (NaN); its weights are damaged")
        if self._greedy:
            return int(scores.argmax())
        probabilities = self._warpers(None, scores).softmax(-1)  # type: ignore[arg-type]
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def continue_prompt(
    model: LoadedModel,
    prompt_ids: Sequence[int],
    sampler: Callable[[Tensor], int],
    max_new_tokens: int,
    **inputs: Any,
) -> Iterator[TokenUse]:
    """Yields the prompt's tokens, then each new one once it has passed the experts.

    It ends after a stop token, `max_new_tokens`, or where the model's context is full.

    Args:
        model: a decoder.
        prompt_ids: at least one token.
        sampler: draws a token from scores (V,).
        max_new_tokens: most tokens added.
        inputs: what else the model takes at every step (`metadata_ids`).
    """
    read = model.reader(len(prompt_ids))
    ids, cache = list(prompt_ids), None
    left = min(max_new_tokens, model.context - len(ids))
    while True:
        output, experts, weights = model.run(
            ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **inputs
        )
        yield from read(ids, experts, weights)
        if left == 0 or (cache is not None and ids[-1] in model.stop_ids):
            return
        cache, left = output.past_key_values, left - 1
        ids = [sampler(output.logits[0, -1])]
