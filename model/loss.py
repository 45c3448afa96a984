"""Language-model loss over the labelled rows, from logits or, in chunks, without keeping them.

M = labelled rows, R = rows of a chunk, D = width, V = vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast

from .experts_autocast import autocast_dtype

# logits that exist at a time: 128 MiB in float32
CHUNK_LOGITS = 2**25


def language_model_loss(logits: Tensor, targets: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Cross entropy in float32 of (M, V) logits; rows with target -100 are left out.

    The mean over labelled rows, or their sum over `num_items` (gradient accumulation: the labels
    of all micro-batches). Without a labelled row the loss is 0 and so is every gradient.
    """
    total = F.cross_entropy(logits.float(), targets, ignore_index=-100, reduction="sum")
    return total / _items(targets, num_items)


def chunked_loss(
    hidden_MD: Tensor, projection: nn.Linear, targets_M: Tensor, num_items: Tensor | int | None
) -> tuple[Tensor, Tensor]:
    """Return `language_model_loss` of projected rows and `correct_sum`; logits never exist whole.

    Under autocast the products take its dtype, as those of the projection itself do.
    """
    dtype = autocast_dtype(hidden_MD.device) or hidden_MD.dtype
    rows = max(CHUNK_LOGITS // projection.out_features, 1)
    with maybe_autocast(hidden_MD.device.type, enabled=False):
        total, correct = ChunkedLoss.apply(
            hidden_MD,
            projection.weight,
            projection.bias,
            targets_M,
            dtype,
            rows,
            torch.is_grad_enabled(),
        )
    return total / _items(targets_M, num_items), correct


def correct_sum(logits_MV: Tensor, targets_M: Tensor, *, coarse: bool) -> Tensor:
    """Number of labels that the most likely token hits; a target below 0 is no label.

    Args:
        logits_MV: (M, V) scores.
        targets_M: (M,) labels.
        coarse: the scores were computed in fewer bits than they are stored in (autocast), so that
            they often tie. A label among n tokens that tie for the maximum counts 1/n: what
            guessing among them would hit on average, whatever the order of the vocabulary.
    """
    own_M = logits_MV.gather(1, targets_M[:, None].clamp(min=0)).squeeze(1)
    top_M = logits_MV.amax(-1)  # a fifth of argmax's time on a CPU
    hit_M = (own_M == top_M) & (targets_M >= 0)
    if not coarse:
        return hit_M.sum()
    return (hit_M / (logits_MV == top_M[:, None]).float().sum(-1)).sum()


class ChunkedLoss(torch.autograd.Function):
    """Summed cross entropy of projected rows, and its gradients, made in one pass over chunks.

    The gradient of a chunk's logits takes their place in memory, goes into the gradients of hidden
    states and weights, and is gone before the next chunk. The backward pass only scales: a sum has
    one incoming gradient.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_MD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_M: Tensor,
        dtype: torch.dtype,
        rows: int,
        with_gradients: bool,
    ) -> tuple[Tensor, Tensor]:
        weight = weight_VD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        total = hidden_MD.new_zeros((), dtype=torch.float32)
        coarse = torch.finfo(dtype).bits < 32
        correct = total.clone() if coarse else total.long()
        grads: list[Tensor] = []
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if with_gradients else None
        grad_bias = weight_VD.new_zeros(len(weight_VD), dtype=torch.float32)
        for chunk, targets in zip(hidden_MD.split(rows), targets_M.split(rows), strict=True):
            x_RD = chunk.to(dtype)
            logits_RV = F.linear(x_RD, weight, bias).float()
            is_label, places = targets >= 0, targets[:, None].clamp(min=0)
            lse_R = logits_RV.logsumexp(-1)
            total += ((lse_R - logits_RV.gather(1, places).squeeze(1)) * is_label).sum()
            correct += correct_sum(logits_RV, targets, coarse=coarse)
            if grad_weight is None:
                continue
            # softmax minus the label, 0 in rows without one
            grad_RV = logits_RV.sub_(lse_R[:, None]).exp_()
            grad_RV.scatter_add_(1, places, torch.full_like(lse_R, -1.0)[:, None])
            grad_RV.mul_(is_label[:, None])
            if bias is not None:
                grad_bias += grad_RV.sum(0)
            grad_RV = grad_RV.to(dtype)
            grads.append(grad_RV @ weight)
            grad_weight += grad_RV.T @ x_RD
        if grad_weight is not None:
            ctx.save_for_backward(
                torch.cat(grads).to(hidden_MD.dtype), grad_weight.to(weight_VD.dtype), grad_bias
            )
        ctx.has_bias = bias_V is not None
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        bias = (grad_bias * grad).to(grad_weight.dtype) if ctx.has_bias else None
        scale = grad.to(grad_weight.dtype)
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight * scale, bias, *[None] * 4


def _items(targets: Tensor, num_items: Tensor | int | None) -> Tensor | int:
    return (targets != -100).sum().clamp(min=1) if num_items is None else num_items
