"""What the parts of a model take in memory, known from its config alone."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class LayerSizes:
    """Bytes of a model's parts.

    Attributes:
        outside: embeddings, norm and head.
        layers: of each layer, in order.
        largest: of the largest weight of any layer, which is there twice while it is converted.
        per_position: of a batch, roughly: its scores, once more in float32, and activations.
    """

    outside: int
    layers: tuple[int, ...]
    largest: int
    per_position: int

    @classmethod
    def of(cls, network: PreTrainedModel, layers: nn.ModuleList) -> "LayerSizes":
        """Adds the parameters of a model up, on the meta device or not."""
        config, item = network.config.get_text_config(), network.dtype.itemsize
        inside = {id(p) for p in layers.parameters()}
        return cls(
            outside=sum(_bytes(p) for p in network.parameters() if id(p) not in inside),
            layers=tuple(sum(_bytes(p) for p in layer.parameters()) for layer in layers),
            largest=max(_bytes(p) for p in layers.parameters()),
            per_position=config.vocab_size * (item + 8) + 16 * config.hidden_size * item,
        )

    @property
    def total(self) -> int:
        """All weights."""
        return self.outside + sum(self.layers)

    def whole(self, positions: int) -> int:
        """What a pass with everything in memory takes, with batches of so many positions."""
        return self.total + positions * self.per_position

    def by_layer(self, positions: int) -> int:
        """What a pass takes of which one layer is in memory at a time."""
        return self.outside + self.one_layer + positions * self.per_position

    @property
    def one_layer(self) -> int:
        """The largest layer while it is read."""
        return max(self.layers) + self.largest


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()
