"""Runs a model of which one layer is in memory at a time: layers outside, batches inside.

A pass runs every batch through layer 0, then every batch through layer 1, and so on; each weight is
read once. The model's own forward is run each time: layers that are done give back what they gave,
and the pass stops at the end of the layer that is there. So masks, positions and whatever else a
family computes are its own, and the numbers are those of the plain pass, to the last bit.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from traceback import clear_frames
from typing import Any

import torch
from torch import Tensor, nn

from ...configs.errors import UserError
from ...configs.progress import Advance
from ..checkpoints.layered_weights import LayeredWeights
from .between_layers import BetweenLayers
from .capture import RoutingCapture
from .forward import Observer
from .recorder import Observation

Batch = Mapping[str, Tensor]


class LayerDone(BaseException):
    """Ends a forward pass at the layer that is there; no handler of a model may swallow it."""


class Relay:
    """Stands in the place of all layers.

    Layers before `current` are done: the last of them gives back `handed_on`, those before it give
    NaN, which shows where a model reads more than the output of the layer before.

    Attributes:
        called: numbers of the layers that the last forward pass called.
        output: what the current layer returned.
    """

    def __init__(self, layers: nn.ModuleList, name: str) -> None:
        self._name, self.current = name, 0
        self.handed_on: Any = None
        self.called: list[int] = []
        self.output: Any = None
        self._nan: Any = None
        self._own = [layer.forward for layer in layers]
        for number, layer in enumerate(layers):
            layer.forward = self._forward(number)

    def rewind(self, current: int, handed_on: Any) -> None:
        """Begins a forward pass in which the layers before `current` are done."""
        self.current, self.handed_on = current, handed_on
        self.called, self._nan = [], None

    def check_inputs(self, arguments: Iterable[Any]) -> None:
        """Refuses a model whose layers read what earlier layers than the one before left."""
        if _has_nan(arguments) and not _has_nan([self.handed_on]):
            raise self.refusal("it reads more than the output of the layer before it")

    def refusal(self, why: str) -> UserError:
        """Says in one line why a model cannot be run layer by layer."""
        return UserError(
            f"{self._name}: cannot be recorded layer by layer (layer {self.current}: {why}); load "
            "it whole (route.memory=null), or spread it with route.device_map=auto"
        )

    def _forward(self, number: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            self.called.append(number)
            if number == self.current - 1:
                return self.handed_on
            if number < self.current:
                self._nan = _as_nan(self.handed_on) if self._nan is None else self._nan
                return self._nan
            if self.current:
                self.check_inputs((*args, *kwargs.values()))
            self.output = self._own[number](*args, **kwargs)
            raise LayerDone

        return forward


class LayerByLayer(Observer):
    """An observer that computes all layers of all batches first, then answers for those batches."""

    def __init__(
        self, weights: LayeredWeights, capture: RoutingCapture, between: BetweenLayers
    ) -> None:
        super().__init__(weights.network, capture, weights.device)
        self.weights, self._between = weights, between
        self._relay = Relay(weights.layers, type(weights.network).__name__)
        self._numbers: dict[bytes, int] = {}

    def num_slots(self, batch: Batch) -> int:
        """Returns the slots of a token, from the first layer with experts."""
        output = None
        for number in range(len(self.weights.layers)):
            output, choices = self._run_layer(number, output, batch)
            if choices:
                return max(int(ids.shape[-1]) for ids, *_ in choices.values())
        raise AssertionError("no layer has experts")

    def prepare(self, batches: Callable[[], Iterator[Batch]], advance: Advance) -> None:
        """Runs all batches through all layers, from the first that an earlier pass left undone.

        Args:
            batches: yields the same batches each time.
            advance: is called with the tokens of each batch and layer.
        """
        self._numbers = {_key(batch): number for number, batch in enumerate(batches())}
        total = len(self.weights.layers)
        self._between.resume()
        for layer in range(total):
            if layer < self._between.num_layers:
                advance(sum(int(batch["attention_mask"].sum()) for batch in batches()))
                continue
            advance.update(f"route layer {layer + 1}/{total}")
            with self._between.writer() as writer:
                for number, batch in enumerate(batches()):
                    given = self._given(number) if layer else None
                    writer.add(*self._run_layer(layer, given, batch))
                    advance(int(batch["attention_mask"].sum()))
            if layer == 0:
                self._check_order(next(batches()))
        self.weights.release()
        self._check_end(next(batches()))

    def __call__(self, batch: Batch) -> Observation:
        """Answers for a batch that was prepared: runs what comes after the layers."""
        number = self._numbers[_key(batch)]
        self._rewind(number)
        return super().__call__(batch)

    def _given(self, batch: int) -> Any:
        """Returns what the last finished layer handed on, on the device."""
        given = self._between.handed_on(batch)
        if isinstance(given, Tensor):
            return given.to(self.device)
        return tuple(None if each is None else each.to(self.device) for each in given)

    @torch.inference_mode()
    def _run_layer(
        self, layer: int, given: Any, batch: Batch
    ) -> tuple[Any, dict[int, tuple[Tensor, ...]]]:
        """Returns what a layer gives for a batch, and what it chooses.

        Args:
            layer: its number.
            given: what the layer before it gave; None for layer 0.
            batch: as the collator made it.
        """
        relay = self._relay
        relay.rewind(layer, given)
        self.weights.hold(layer)
        try:
            self._run(batch, with_routing=False)
        except LayerDone as done:
            clear_frames(done.__traceback__)  # they hold what the model computed, and weights
        except (KeyError, IndexError, AttributeError, TypeError, RuntimeError) as error:
            if layer == 0 or isinstance(error, torch.OutOfMemoryError):
                raise
            raise relay.refusal(f"{type(error).__name__}: {error}") from error
        output, relay.output = relay.output, None
        tensors = [output] if isinstance(output, Tensor) else output
        if not isinstance(tensors, list | tuple) or not all(
            each is None or isinstance(each, Tensor) for each in tensors
        ):
            raise relay.refusal(f"it returns {type(output).__name__}")
        return output, self._capture.drain()

    def _rewind(self, batch: int) -> None:
        """Sets the relay and the capture to where all layers of a batch are done."""
        last = self._between.num_layers
        self._relay.rewind(last, self._given(batch))
        for layer in range(last):
            self._capture.refill(self._between.chosen(batch, layer), self.device)

    @torch.inference_mode()
    def _check_order(self, batch: Batch) -> None:
        """Refuses a model that does not call each layer once and in order."""
        relay = self._relay
        relay.rewind(len(self.weights.layers), self._given(0))
        self._run(batch, with_routing=False)
        if relay.called != list(range(relay.current)):
            raise relay.refusal(f"layers are called in the order {relay.called}"[:200])

    @torch.inference_mode()
    def _check_end(self, batch: Batch) -> None:
        """Refuses a model whose head reads more than the last layer."""
        self._rewind(0)
        _, logits, _ = self._run(batch, with_routing=False)
        self._relay.check_inputs([logits])
        self._capture.drain()


def _key(batch: Batch) -> bytes:
    """Identifies a batch by what the model reads of it."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    digest = hashlib.blake2b(str(tuple(ids.shape)).encode(), digest_size=16)
    digest.update(ids.contiguous().numpy().tobytes())
    digest.update(mask.contiguous().numpy().tobytes())
    return digest.digest()


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _has_nan(values: Iterable[Any]) -> bool:
    return any(t.is_floating_point() and bool(t.isnan().any()) for t in _tensors(values))


def _as_nan(output: Any) -> Any:
    """Returns an output of the same shapes that holds no number."""
    if isinstance(output, Tensor):
        return torch.full_like(output, torch.nan) if output.is_floating_point() else output
    return tuple(_as_nan(each) for each in output) if isinstance(output, tuple) else output
