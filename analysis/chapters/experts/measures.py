"""All that is known of each expert, in one place."""

from dataclasses import dataclass

import pandas as pd

from ...data.run import RunData
from ...statistics.draws import Draws


@dataclass(frozen=True)
class ExpertsRecord:
    """What other chapters found of each expert.

    Attributes:
        load: `load.measures.expert_load`.
        cells: `topics.cells.topic_expert_cells`.
        tokens: `vocabulary.measures.top_tokens`.
        classes: `form.measures.class_cells`.
        masked: `position.measures.masked_experts`.
        knockout: `knockout.measures.knockout_effects`.
    """

    load: pd.DataFrame
    cells: pd.DataFrame
    tokens: pd.DataFrame
    classes: pd.DataFrame
    masked: pd.DataFrame
    knockout: pd.DataFrame


def measure_experts(run: RunData, draws: Draws, **frames: pd.DataFrame) -> ExpertsRecord:
    """Gathers the record from the chapters that found it."""
    return ExpertsRecord(**frames)
