"""The worked example of docs/extending.md runs, and does what it says."""

import re
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from moescope.model import BALANCE_LOSSES, ROUTERS, MoescopeConfig
from tests.conftest import ROOT


def test_worked_example() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "extending"}
    try:
        for block in blocks:
            exec(block, names)
        gate = names["model"].model.layers[0].mlp.gate
        assert type(gate).__name__ == "CosineRouter"
        assert gate.weight.grad.abs().max() > 0
        assert 1 <= names["losses"]["peak"].item() <= 4
        with pytest.raises(StrictDataclassError, match='did you mean "temperature"'):
            MoescopeConfig(router={"name": "cosine", "temperatur": 1.0})
    finally:
        ROUTERS.pop("cosine", None)
        BALANCE_LOSSES.pop("peak", None)
