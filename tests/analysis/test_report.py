"""The report stage: files, agreement of page, tables and summary, errors."""

import csv
import json
import random
import re
from pathlib import Path

import pytest

from moescope.configs.errors import UserError

from .runs import make_report, write_run
from .stores import Planted

PLAN = Planted(effect=1.5, mask_effect=2.0)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(write_run(tmp_path_factory.mktemp("runs"), PLAN))


def figures_of(report: Path) -> dict[str, dict[str, dict[str, list]]]:
    page = (report / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])["panels"]


def test_summary_has_what_the_contract_asks(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    assert summary["validation_loss"] == 4.5
    assert summary["unigram_entropy"] == 6.0
    assert summary["train_tokens"] == 123_456
    assert summary["best_step_tokens"] == 98_765
    assert summary["elapsed_s"] > 40  # four upstream stages of 10 s
    assert [layer["layer"] for layer in summary["layers"]] == [0, 2]
    keys = {"topic_information_bits", "topic_information_share", "p_value", "max_violation"}
    assert all(keys <= set(layer) for layer in summary["layers"])
    assert {sentence["subject"] for sentence in summary["verdict"]} >= {"topic", "load", "masked"}


def test_page_is_closed_to_the_network(report: Path) -> None:
    page = (report / "report.html").read_text()
    own = page.replace(re.findall(r"<script>(.*?)</script>", page, flags=re.S)[0], "")
    assert "default-src 'none'" in page
    assert "unsafe-eval" not in page.split("</head>")[0]
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", own)
    assert not re.findall(r"<[^>]+\son\w+\s*=", own.split('id="figures"')[0])


def test_cells_of_the_heatmap_equal_the_table_beside_it(report: Path) -> None:
    panels = figures_of(report)
    with (report / "tables" / "topics.csv").open() as stream:
        table = list(csv.DictReader(stream))
    for row in random.Random(0).sample(table, 20):
        heatmap = panels["topics"][row["layer"]]["data"][0]
        y, x = heatmap["y"].index(row["topic"]), heatmap["x"].index(f"E{row['expert']}")
        assert heatmap["z"][y][x] == pytest.approx(float(row["log2_ratio"]), rel=1e-4)
        bars = {bar["name"]: bar for bar in panels["load-by-topic"][row["layer"]]["data"]}
        share = bars[row["topic"]]["y"][int(row["expert"])]
        assert share == pytest.approx(float(row["share"]), rel=1e-4)
        assert (heatmap["text"][y][x] != "") == (float(row["p_value"]) <= 0.05)


def test_every_figure_has_its_table_reading_and_facts(report: Path) -> None:
    page = (report / "report.html").read_text()
    names = set(figures_of(report))
    assert {"topics", "depth", "load", "masked", "vocabulary", "loss", "documents"} <= names
    for name in names:
        assert (report / "tables" / f"{name}.csv").stat().st_size > 0
        block = page.split(f'<figure id="figure-{name}">')[1].split("</figure>")[0]
        assert 'role="img" aria-label="' in block
        facts = re.search(r'<p class="facts">(.*?)</p>', block)
        assert facts is not None
        assert all(word in facts[1] for word in ("n = ", "Unit:", "Baseline:"))
        assert "<table>" in block


def test_what_was_not_searched_for_is_not_counted_as_none(report: Path) -> None:
    page = (report / "report.html").read_text()
    kinds = re.findall(r"<dt>(Exact|Near) duplicates</dt><dd><bdi>(.*?)</bdi>", page)
    found = dict(kinds)
    assert found["Exact"].startswith("3 found, 3 removed")
    assert found["Near"] == "not searched for"


def test_methods_name_the_stage_of_each_result(report: Path) -> None:
    page = (report / "report.html").read_text()
    stages = re.findall(r"<summary><bdi>(\w+): moescope ", page)
    assert stages == ["corpus", "mask", "train", "route"]


def test_same_seed_same_report(report: Path, tmp_path: Path) -> None:
    again = make_report(write_run(tmp_path, PLAN))
    assert (again / "report.html").read_bytes() == (report / "report.html").read_bytes()
    for table in (report / "tables").iterdir():
        assert (again / "tables" / table.name).read_bytes() == table.read_bytes()


def test_formats_are_obeyed(tmp_path: Path) -> None:
    report = make_report(write_run(tmp_path, Planted(), ("report.formats=[]",)))
    assert {path.name for path in report.iterdir()} == {"summary.json", "manifest.json"}


def test_damaged_inputs_end_with_one_line(tmp_path: Path) -> None:
    config = write_run(tmp_path, Planted())
    config.paths.metrics.write_text('{"split": "train"')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 1 is not JSON"):
        make_report(config)
    (config.paths.corpus / "audit.json").write_text("{}")
    with pytest.raises(UserError, match="not a corpus audit"):
        make_report(config)
    (config.paths.routing / "tables.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"tables\.safetensors"):
        make_report(config)
    assert not config.paths.report.exists()
