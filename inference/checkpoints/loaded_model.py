"""A checkpoint that answers prompts: its weights, its tokenizer, and hooks on its experts."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedModel

from ...configs.errors import UserError, nearest
from ...data_processors.tokenizers import SPACE_MARKS
from ..recording.capture import RoutingCapture, find_experts
from ..recording.forward import predicts_next
from ..recording.token_types import read_vocabulary
from .load_checkpoint import load_model, load_tokenizer


@dataclass(frozen=True)
class TokenUse:
    """One token and the experts that it passed.

    Attributes:
        token: the token in readable form, special or not (" the", "[SEP]", "⟨e2 80⟩").
        text: what it adds to the text so far; "" for an unfinished character and for the tokens
            around a text ([CLS], [SEP]).
        experts: per layer with experts, those that ran, largest weight first.
        weights: the same for their weights.
    """

    token_id: int
    token: str
    text: str
    is_prompt: bool
    is_special: bool
    experts: list[list[int]]
    weights: list[list[float]]


class LoadedModel:
    """A language model that runs one row of tokens at a time and reports each token's experts.

    Attributes:
        path: where it was loaded from.
        layers: layer numbers with experts; [] for a dense model.
        context: most tokens it reads.
        is_spaced: whether tokens carry the space before them.
        start_ids: what stands before a text.
        stop_ids: tokens that end a text.
    """

    def __init__(self, path: str, device: torch.device) -> None:
        self.path, self.device = path, device
        self.network: PreTrainedModel = load_model(path, device)
        self.tokenizer = load_tokenizer(path)
        config = self.network.config.get_text_config()
        self.is_causal = predicts_next(self.network)
        router = getattr(config, "router", None)
        self.router: dict[str, Any] = router if isinstance(router, dict) else {}
        self.context = int(getattr(config, "max_position_embeddings", None) or 1 << 20)
        self._texts = read_vocabulary(self.tokenizer, config.vocab_size).texts
        self._special = set(self.tokenizer.all_special_ids)
        vocabulary = self.tokenizer.get_vocab()
        self.is_spaced = any(len(t) > 1 and t.startswith(SPACE_MARKS) for t in vocabulary)
        experts = find_experts(self.network)
        self.layers = list(experts)
        self._capture = RoutingCapture(self.network) if experts else None
        self.num_experts = self._capture.num_experts if self._capture else 0
        self.start_ids, self.stop_ids = self._frame()

    def _frame(self) -> tuple[list[int], set[int]]:
        """Returns what stands before a text, and the tokens that end one.

        Our configs say how a text begins; for others it is what their tokenizer puts there.
        """
        tokenizer, config = self.tokenizer, self.network.config
        generation = getattr(self.network, "generation_config", None)  # decoders only
        ends = getattr(generation, "eos_token_id", None)
        stops = {*(ends if isinstance(ends, list) else [ends])}
        stops |= {tokenizer.eos_token_id, tokenizer.sep_token_id}
        if config.model_type == "moescope":
            start = [] if config.bos_token_id is None else [config.bos_token_id]
        else:
            start = tokenizer("").input_ids[:1]
            start = [i for i in start if i in (tokenizer.bos_token_id, tokenizer.cls_token_id)]
        return start, stops - {None}

    @torch.inference_mode()
    def run(self, ids: Sequence[int], **inputs: Any) -> tuple[Any, list[Any], list[Any]]:
        """Runs one row; returns the output, and experts and weights as lists (S, L, k) by weight.

        Args:
            ids: S tokens.
            inputs: what the model takes beside `input_ids`.
        """
        input_ids = torch.tensor([list(ids)], device=self.device)
        with self._capture or nullcontext():
            output = self.network(input_ids=input_ids, **inputs)
            if self._capture is None:
                return output, [[]] * len(ids), [[]] * len(ids)
            rows = torch.arange(len(ids), device=self.device)
            experts, weights = self._capture.take(rows, len(ids))
        return output, experts.tolist(), weights.float().tolist()

    def reader(self, num_prompt: int) -> "TokenReader":
        """Returns a reader that makes `TokenUse` records of this model's tokens, in order."""
        return TokenReader(self, num_prompt)

    def read(self, token_id: int) -> str:
        """Returns a token in readable form."""
        return self._texts[token_id]

    def is_special(self, token_id: int) -> bool:
        """Whether a token is not part of a text, such as [CLS] or [MASK]."""
        return token_id in self._special


class TokenReader:
    """Decodes tokens one after the other; a character may need several."""

    def __init__(self, model: LoadedModel, num_prompt: int) -> None:
        self._model, self._left_in_prompt = model, num_prompt
        self._stream = DecodeStream(skip_special_tokens=True)
        self._begun = False
        tokenizer = model.tokenizer
        self._shown_as_is = {tokenizer.mask_token_id, tokenizer.unk_token_id} & {
            *tokenizer.all_special_ids
        }

    def __call__(
        self, ids: Sequence[int], experts: Sequence[Any], weights: Sequence[Any]
    ) -> Iterator[TokenUse]:
        """Yields a record per token; `experts` and `weights` are those of `LoadedModel.run`."""
        for token_id, layers, masses in zip(ids, experts, weights, strict=True):
            ran = [
                # id E: a slot that no expert executed
                [(e, w) for e, w in zip(*layer, strict=True) if e < self._model.num_experts]
                for layer in zip(layers, masses, strict=True)
            ]
            yield TokenUse(
                token_id=token_id,
                token=self._model.read(token_id),
                text=self._text(token_id),
                is_prompt=self._left_in_prompt > 0,
                is_special=self._model.is_special(token_id),
                experts=[[e for e, _ in layer] for layer in ran],
                weights=[[round(w, 4) for _, w in layer] for layer in ran],
            )
            self._left_in_prompt -= 1

    def _text(self, token_id: int) -> str:
        """Decodes the token after those before it; a mask stands for a word with its space."""
        if token_id in self._shown_as_is:
            is_word = self._model.is_spaced and self._begun
            return f" {self._model.read(token_id)}" if is_word else self._model.read(token_id)
        text = self._stream.step(self._model.tokenizer.backend_tokenizer, token_id) or ""
        self._begun = self._begun or bool(text)
        return text


def find_checkpoint(name: str, runs: Path) -> str:
    """Finds the checkpoint that a name means: its folder, a run's folder, a run, a hub name.

    Raises:
        UserError: a plain word that is no run.
    """
    for folder in (Path(name), Path(name) / "model", runs / name / "model"):
        if (folder / "config.json").is_file():
            return str(folder)
    if "/" in name or Path(name).exists():
        return name  # a hub name, or a folder whose fault the loader can name
    known = sorted(path.parent.parent.name for path in runs.glob("*/model/config.json"))
    there = f"there are {', '.join(known)}" if known else f"{runs} holds no trained model"
    raise UserError(f"models: no run or checkpoint {name!r}{nearest(name, known)}; {there}")
