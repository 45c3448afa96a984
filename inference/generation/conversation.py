"""Lets one or several models answer prompts, and shows or writes their experts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from ...configs.errors import UserError
from ...configs.ownership import free_sibling, is_json_lines, numbered, refuse_foreign
from ...configs.progress import console as messages
from ...configs.terminal import printable
from ..checkpoints.loaded_model import LoadedModel, TokenUse
from .answer_display import SideBySide, Streamed, open_display
from .asked_value import AskedValue, asked_value, router_column
from .continuation import TokenSampler, continue_prompt
from .fill_mask import Candidate, fill_masks
from .prompt import encode_prompt
from .request import Request, refuse_unknown
from .token_colours import AnswerView, Show


@dataclass(frozen=True)
class Answer:
    """What one model answered; one of the `answers` in the file of `generate.json_path`.

    Attributes:
        kind: "continuation" or "fill-mask".
        metadata: the value that a masked router was given; None for other models.
        layers: layer numbers of the entries of each token's `experts` and `weights`.
        text: prompt and continuation, without frame tokens.
        candidates: per [MASK], in order.
    """

    model: str
    kind: str
    metadata: AskedValue | None
    layers: list[int]
    num_experts: int
    text: str
    tokens: list[TokenUse]
    candidates: list[list[Candidate]]


class Conversation:
    """Models that answer prompts, each with a random generator of its own."""

    def __init__(self, request: Request, models: Sequence[LoadedModel]) -> None:
        self.request, self._models = request, models
        self._generators = [torch.Generator().manual_seed(request.config.seed) for _ in models]
        self._console = Console(highlight=False, soft_wrap=True)
        self._answered = 0
        self.change([])

    def change(self, options: Sequence[tuple[str, str]]) -> None:
        """Changes settings, after checking them against the models.

        Raises:
            UserError: a setting, column, value or layer that is not there.
        """
        request = self.request.changed(options)
        columns = [column for m in self._models if (column := router_column(m)) is not None]
        refuse_unknown(request.metadata, request.settings.label, columns)
        self._asked = [
            asked_value(model, request.metadata, request.settings.label) for model in self._models
        ]
        self._layers = [shown_layer(model, request.settings.layer) for model in self._models]
        self.request = request

    def answer(self, prompt: str) -> None:
        """Lets every model answer; nothing is printed unless all of them can.

        Raises:
            UserError: a prompt that a model cannot read, or a file that cannot be written.
        """
        encoded = [encode_prompt(model, prompt) for model in self._models]
        text_alone = len(encoded) == 1 and self._show() == "text"
        headers = [] if text_alone else [self._header(i) for i in range(len(encoded))]
        with open_display(self._console, headers) as display:
            answers = [self._answer_one(i, ids, display) for i, ids in enumerate(encoded)]
        self._write_json(prompt, answers)
        self._answered += 1

    def _answer_one(self, number: int, ids: list[int], display: Streamed | SideBySide) -> Answer:
        model, settings = self._models[number], self.request.settings
        asked = self._asked[number]
        view = AnswerView(self._show(), model.layers, self._layers[number])
        inputs = {}
        if asked is not None:
            inputs["metadata_ids"] = torch.tensor([asked.value_id], device=model.device)
        candidates: list[list[Candidate]] = []
        if model.is_causal:
            sampler = TokenSampler(settings, self._generators[number])
            uses = continue_prompt(model, ids, sampler, settings.max_new_tokens, **inputs)
        else:
            tokens, candidates = fill_masks(model, ids, settings.candidates, **inputs)
            uses = iter(tokens)
        display.begin(number)
        shown = []
        for use in uses:
            display.add(number, view.add(use))
            shown.append(use)
        display.end(number, view.closing(candidates))
        return Answer(
            model=model.path,
            kind="continuation" if model.is_causal else "fill-mask",
            metadata=asked,
            layers=model.layers,
            num_experts=model.num_experts,
            text="".join(use.text for use in shown),
            tokens=shown,
            candidates=candidates,
        )

    def _show(self) -> Show:
        if self.request.settings.show != "auto":
            return self.request.settings.show
        return "colours" if self._console.color_system is not None else "table"

    def _header(self, number: int) -> str:
        model, asked = self._models[number], self._asked[number]
        experts = f"{model.num_experts} experts in {len(model.layers)} layers"
        given = "" if asked is None else f"; {asked.describe()}"
        return printable(f"{model.path} ({experts if model.layers else 'dense'}{given})")

    def _write_json(self, prompt: str, answers: Sequence[Answer]) -> None:
        path, settings = self.request.settings.json_path, self.request.settings
        if path is None:
            return
        keys = {"max_new_tokens", "temperature", "top_k", "top_p"}
        record = {
            "prompt": prompt,
            "seed": self.request.config.seed,
            "settings": settings.model_dump(include=keys),
            "answers": [asdict(answer) for answer in answers],
        }
        if not self._answered:
            claim_answers(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def describe(self) -> str:
        """Returns the settings in force, as they would be typed."""
        settings = self.request.settings.model_dump(exclude={"models", "json_path", "label"})
        shown = {**settings, **self.request.metadata}
        return "  ".join(f"{key}={'null' if v is None else v}" for key, v in shown.items())


def shown_layer(model: LoadedModel, layer: int | None) -> int:
    """Returns the layer whose experts are shown; −1 for a dense model."""
    if not model.layers:
        return -1
    if layer is not None and layer not in model.layers:
        raise UserError(
            f"layer={layer}: {model.path} has experts in layers "
            f"{', '.join(map(str, model.layers))} only"
        )
    return model.layers[-1] if layer is None else layer


def claim_answers(path: Path) -> None:
    """Makes room for a file of answers; an earlier one is kept under a number.

    Raises:
        UserError: another's file is there.
    """
    refuse_foreign(path, "--json", ours=is_json_lines(path, "prompt", "answers"))
    if path.exists() and path.stat().st_size:
        kept = numbered(path, free_sibling(path))
        path.rename(kept)
        messages.print(f"{path}: the earlier answers are kept as {kept}", markup=False)
