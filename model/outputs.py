"""What the models return."""

from dataclasses import dataclass

from torch import Tensor
from transformers import Cache
from transformers.utils import ModelOutput

from .routing import Routing


@dataclass
class MoescopeModelOutput(ModelOutput):
    """Base model's output; `routing` has one record per MoE layer."""

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    routing: tuple[Routing, ...] | None = None


@dataclass
class MoescopeLMOutput(ModelOutput):
    """Language-model output.

    `loss` is the language-model loss alone (balance losses are added where one trains). `logits`
    is (M, V) when `label_positions` of length M was given (and, for the masked head in training,
    the labelled positions when only labels were given), else (B, S, V). Without logits
    (`output_logits=False`), `correct` is the number of labels that the most likely token hits;
    under autocast, a label among n tokens that tie counts 1/n.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    correct: Tensor | None = None
    routing: tuple[Routing, ...] | None = None
