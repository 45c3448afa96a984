"""Checks, before a recording starts, how much memory it will take."""

import numpy as np

from ...configs.errors import UserError
from ...configs.schema_report import Route
from .tables import RoutingTables, TableSizes

SCALAR_BYTES = 33  # a sampled token's numbers besides its slots
SLOT_BYTES = 4  # expert id and weight, two bytes each
MIB = 2**20


def check_memory(settings: Route, sizes: TableSizes, sampled_tokens: int) -> None:
    """Checks the tables and the sample against `route.max_memory`.

    Both are held twice when the store is written: as they grew and as they are on disk. Batches,
    the model and one chunk of documents come on top, whatever the number of tokens.

    Raises:
        UserError: they would not fit; names both sizes and what makes them smaller.
    """
    tables = 2 * 8 * sum(int(np.prod(shape)) for shape in RoutingTables.shapes(sizes).values())
    slots = sizes.num_layers * sizes.num_slots
    sample = 2 * sampled_tokens * (SCALAR_BYTES + SLOT_BYTES * slots)
    if tables + sample > settings.max_memory * MIB:
        raise UserError(
            f"route.max_memory={settings.max_memory}: the tables need {tables / MIB:,.0f} MiB and "
            f"the sample {sample / MIB:,.0f} MiB; lower route.max_types={settings.max_types} or "
            f"route.sample_tokens={settings.sample_tokens}, or raise the limit"
        )
