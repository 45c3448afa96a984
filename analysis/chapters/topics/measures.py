"""E2 and E3, topics: what an expert's name tells of the topic, and which experts tell it."""

from dataclasses import dataclass

import pandas as pd

from ...data.run import RunData
from ...statistics.draws import Draws
from .cells import topic_expert_cells
from .information import topic_information, topic_tests


@dataclass(frozen=True)
class TopicsRecord:
    """What the routing has to do with topics.

    Attributes:
        information: `information.topic_information`.
        cells: `cells.topic_expert_cells`.
    """

    information: pd.DataFrame
    cells: pd.DataFrame


def measure_topics(run: RunData, draws: Draws) -> TopicsRecord:
    """Computes the record; one set of permutations serves layers and cells."""
    data = run.documents
    tests = topic_tests(data, draws.permutations, draws.generator)
    return TopicsRecord(
        information=topic_information(data, tests, draws.weights),
        cells=topic_expert_cells(data, tests),
    )


def information_by_layer(record: TopicsRecord) -> pd.DataFrame:
    """The numbers of each layer that a summary holds."""
    frame = record.information
    return pd.DataFrame(
        {
            "layer": frame.layer,
            "topic_information_bits": frame.bits,
            "topic_information_share": frame.share,
            "topic_information_interval_bits": list(
                map(list, zip(frame.low, frame.high, strict=True))
            ),
            "band": frame.band,
            "p_value": frame.p_value,
            "family_p_value": frame.family_p_value,
        }
    )
