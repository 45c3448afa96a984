"""The benchmarks of the statistics keep working, and a quick calibration keeps its promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.calibration import measure

ROOT = Path(__file__).parents[2]


def test_quick_calibration() -> None:
    result = measure(16)
    most = stats.binom.ppf(0.9999, 16, 0.05) / 16
    assert max(result["false_positive_rate"].values()) <= most
    assert min(result["power"].values()) >= 0.3
    assert result["words_only"]["E3"] >= 0.5
    assert result["words_only"]["E4"] <= most
    assert min(result["coverage"].values()) > 0.8
    assert min(result["balance_coverage"].values()) > 0.65  # a true 95% is below once in 10,000


@pytest.mark.parametrize("name", ["statistics"])
def test_benchmark_ends_with_json(name: str) -> None:
    script = ROOT / "benchmarks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["elapsed_s"] > 0


def test_neighbours_of_the_statistics_benchmark_get_the_standard_library(tmp_path: Path) -> None:
    code = "import statistics, sys; print(statistics.median([1, 2, 9]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "benchmarks")},
    )
    assert done.stdout.strip() == "2", done.stderr
