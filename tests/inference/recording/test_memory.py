"""The memory of a recording is known before it starts."""

import pytest

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.inference.recording.memory import check_memory
from moescope.inference.recording.tables import RoutingTables, TableSizes


def test_memory_is_checked_before_the_pass() -> None:
    settings = compose_config(["route.max_memory=100"]).route
    sizes = TableSizes(
        20, 12, 64, 8, num_types=4096, num_classes=10, num_positions=16, num_special=5, top_k=8
    )
    check_memory(settings.model_copy(update={"max_memory": 1000}), sizes, 500_000)
    with pytest.raises(
        UserError, match=r"route\.max_memory=100: the tables need \d+ MiB"
    ) as caught:
        check_memory(settings, sizes, 0)
    assert "\n" not in str(caught.value)
    held = sum(array.nbytes for array in RoutingTables(sizes).sums().values())
    check_memory(settings.model_copy(update={"max_memory": 2 * held // 2**20 + 1}), sizes, 0)
