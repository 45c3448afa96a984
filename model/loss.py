"""Language-model loss over the labelled rows."""

from torch import Tensor
from torch.nn import functional as F


def language_model_loss(logits: Tensor, targets: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Cross entropy in float32 of (M, V) logits; rows with target -100 are left out.

    The mean over labelled rows, or their sum over `num_items` (gradient accumulation: the labels
    of all micro-batches). Without a labelled row the loss is 0 and so is every gradient.
    """
    total = F.cross_entropy(logits.float(), targets, ignore_index=-100, reduction="sum")
    if num_items is None:
        num_items = (targets != -100).sum().clamp(min=1)
    return total / num_items
