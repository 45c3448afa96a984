"""How the model got where it is: what the train stage logged."""

from dataclasses import dataclass

from ...data.curves import TrainingCurves
from ...data.quality import ModelQuality
from ...data.run import RunData
from ...statistics.draws import Draws


@dataclass(frozen=True)
class TrainingRecord:
    """The training of the recorded model.

    Attributes:
        curves: what was logged; None where it is not known.
        quality: how well the model predicts; None where it is not known.
    """

    curves: TrainingCurves | None
    quality: ModelQuality | None


def measure_training(run: RunData, draws: Draws) -> TrainingRecord | None:
    """Gathers the record; None where another model than the run's own was recorded."""
    if run.curves is None and run.quality is None:
        return None
    return TrainingRecord(run.curves, run.quality)
