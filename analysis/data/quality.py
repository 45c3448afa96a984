"""How well the model predicts, without which its routing means little."""

from dataclasses import dataclass

from ...configs.errors import UserError
from ...configs.manifest import Manifest


@dataclass(frozen=True)
class ModelQuality:
    """What the train stage counted.

    Attributes:
        validation_loss: nats per predicted token.
        unigram_entropy: nats per predicted token, from token frequencies at the same positions.
        train_tokens: training tokens, in all.
        best_step_tokens: training tokens up to the best step, whose model was kept.
        is_causal: whether it predicts the next token, or masked ones.
    """

    validation_loss: float
    unigram_entropy: float
    train_tokens: int
    best_step_tokens: int
    is_causal: bool


def model_quality(manifest: Manifest | None) -> ModelQuality | None:
    """Takes the losses out of the train stage's manifest; None without one.

    Raises:
        UserError: it is from before they were counted up to the best step.
    """
    if manifest is None:
        return None
    counts = manifest.counts
    if "best_step_tokens" not in counts:
        raise UserError(
            "the model's manifest.json is of an older version and lacks best_step_tokens; delete "
            "its folder and rerun `moescope train`, which goes on from the finished checkpoints"
        )
    return ModelQuality(
        validation_loss=float(counts["validation_loss"]),
        unigram_entropy=float(counts["unigram_entropy"]),
        train_tokens=int(counts["train_tokens"]),
        best_step_tokens=int(counts["best_step_tokens"]),
        is_causal=bool(manifest.config["model"]["is_causal"]),
    )
