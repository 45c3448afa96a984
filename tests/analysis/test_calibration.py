"""The benchmarks of the statistics keep working, and a quick calibration keeps its promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.calibration import EFFECTS, NULLS, coverage, rejections, remembered, write_tables
from benchmarks.calibration_coverage import COVERAGE

ROOT = Path(__file__).parents[2]
CORPORA = 16
MOST = stats.binom.ppf(0.99999, CORPORA, 0.05) / CORPORA
SLOW = ("classifier", "knock-outs", "matching", "time")  # their own tests calibrate them


@pytest.mark.parametrize("name", [name for name in NULLS if not name.startswith(SLOW)])
def test_nothing_is_found_where_there_is_nothing(name: str) -> None:
    assert max(rejections(NULLS[name], CORPORA).values()) <= MOST


@pytest.mark.parametrize(
    "name",
    [
        "classifier: tiny topics",
        "classifier, words: bursty words",
        "knock-outs: four groups of five documents",
        "knock-outs: losses skewed to the left",
        "matching: unrelated, bursty words",
        "time: 20 speakers of four speeches",
    ],
)
def test_hooks_for_other_tests_work(name: str) -> None:
    assert max(rejections(NULLS[name], 2).values()) <= 1


@pytest.mark.parametrize("name", ["documents with noise", "length x10", "context"])
def test_effects_are_found(name: str) -> None:
    found = rejections(EFFECTS[name], CORPORA)
    assert max(found.values()) > 0.5
    assert found.get("E3", 1) >= found.get("χ²", 0) - 0.25


@pytest.mark.parametrize(
    "name",
    ["10 groups a topic, weak effect", "10 groups a topic, strong effect", "load, 8 experts"],
)
def test_intervals_hold_the_truth(name: str) -> None:
    assert min(coverage(COVERAGE[name], CORPORA).values()) > 0.65  # a true 95%: once in 10,000


def test_what_is_measured_is_kept_beside_the_rest(tmp_path: Path) -> None:
    first, second = list(NULLS)[:2]
    path, held = tmp_path / "calibration.json", {"power": {}, "coverage": {}}
    remembered({"false_positive_rate": {second: {"E3": 0.04}}, **held}, path)
    shares = remembered({"false_positive_rate": {first: {"E3": 0.05}}, **held}, path)
    assert list(shares["false_positive_rate"]) == [first, second]
    marks = [f"<!-- {what} -->\nold\n<!-- end {what} -->" for what in shares]
    page = tmp_path / "calibration.md"
    page.write_text("\n".join(["before", *marks, "after"]))
    write_tables(shares, page)
    text = page.read_text()
    assert "old" not in text
    assert f"| {first} | 5.0% |\n| {second} | 4.0% |" in text
    assert text.startswith("before")
    assert text.endswith("after")


@pytest.mark.parametrize("options", [["--quick"], ["--quick", "--large"]])
def test_the_cost_benchmark_ends_with_json(options: list[str]) -> None:
    script = ROOT / "benchmarks" / "analysis_cost.py"
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["elapsed_s"] > 0
    assert last["large"] == ("--large" in options)
