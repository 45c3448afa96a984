"""Documents of one group (a module, an address, an author) as one unit of a test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def origin_units(origins: Sequence[Any], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the origins, apart where their documents differ in label.

    Args:
        origins: of each document (D).
        labels: topic or date of each document (D).

    Returns:
        (D) number of each document's unit, and (U) ascending row of each unit's first document.
    """
    units, _ = pd.factorize(pd.MultiIndex.from_arrays([list(origins), labels]))
    return units, np.unique(units, return_index=True)[1]
