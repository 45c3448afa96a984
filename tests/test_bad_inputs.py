"""A look at benchmarks/bad_inputs.py: its cases are many, and readers refuse in one line."""

from pathlib import Path

import pytest

from benchmarks.bad_input_cases import all_cases
from benchmarks.bad_input_examples import PROPERTIES, run_property


@pytest.mark.parametrize("name", PROPERTIES)
def test_what_hypothesis_makes_up_is_read_or_refused(name: str, tmp_path: Path) -> None:
    assert run_property(PROPERTIES[name], 25, tmp_path, 0) is None


def test_the_campaign_has_cases_of_every_stage(debug_run: Path, tmp_path: Path) -> None:
    cases = all_cases(debug_run, tmp_path)
    assert len(cases) >= 300
    assert {"corpus", "mask", "train", "route", "report", "compare", "import", "export"} <= {
        case.words[0] for case in cases
    }
