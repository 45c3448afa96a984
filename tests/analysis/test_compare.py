"""Several runs on one page: what differs, whose losses compare, missing parts, page = tables."""

import json
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moescope.analysis.comparison.measures import _routing
from moescope.analysis.comparison.page import MEASURES, cell_text
from moescope.analysis.comparison.runs import find_runs, run_labels
from moescope.analysis.comparison.verdict import _seeds, _similarity, _topics
from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import Manifest
from moescope.configs.stage import execute
from moescope.configs.stages import COMPARE

from .runs import make_report, write_run
from .stores import Planted

HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = ("sweep,rate=0.15", "sweep,rate=0.3", "sweep,rate=0.3,again")
PLAN = Planted(effect=1.5, token_names=tuple(f" word{number}" for number in range(120)))


def plant(runs: Path, name: str, dataset: str, rate: float, permutation: list[int]) -> None:
    """Writes a run with a report; its experts are numbered by `permutation`."""
    config = write_run(runs, PLAN, (f"name='{name}'", "report.permutations=19"))
    path, generator = config.paths.routing / "sample.parquet", np.random.default_rng(5)
    sample = pq.read_table(path)
    types = sample["input_id"].to_numpy()
    shares = generator.dirichlet(np.full(8, 0.5), (len(PLAN.token_names), len(PLAN.layers)))
    drawn = generator.random((len(types), len(PLAN.layers), 1))
    chosen = (np.cumsum(shares, axis=-1)[types] < drawn).sum(axis=-1).clip(max=7)
    numbers = pa.array(np.argsort(permutation)[chosen].ravel().astype(np.int16))
    place = sample.column_names.index("experts")
    lists = pa.FixedSizeListArray.from_arrays(numbers, len(PLAN.layers))
    pq.write_table(sample.set_column(place, "experts", lists), path)
    make_report(config)
    settings = {"masking": {"probability": rate}, "source": {"path": HOSTILE}}
    amend(config.paths.model, f"model-{name}", {"mask": dataset}, settings)
    amend(config.paths.routing, f"routing-{name}", {"train": f"model-{name}", "mask": dataset}, {})
    amend(config.paths.dataset, dataset, {"corpus": "corpus"}, {})
    amend(config.paths.report, f"report-{name}", {"route": f"routing-{name}"}, {})


def amend(folder: Path, fingerprint: str, inputs: dict[str, str], config: dict) -> None:
    """Gives a planted manifest its own place in the chain of results."""
    path = folder / "manifest.json"
    manifest = Manifest.model_validate_json(path.read_text())
    changes = {"fingerprint": fingerprint, "inputs": inputs, "config": manifest.config | config}
    counts = manifest.counts | {"tokenizer_hash": "t"}
    changed = manifest.model_copy(update={**changes, "counts": counts})
    path.write_text(changed.sealed().model_dump_json())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    straight, turned = list(range(8)), [3, 1, 7, 0, 2, 6, 5, 4]
    plant(folder, NAMES[0], "dataset-a", 0.15, straight)
    plant(folder, NAMES[1], "dataset-b", 0.3, turned)
    shutil.copytree(folder / NAMES[1], folder / NAMES[2])
    return folder


def compare(runs: Path, *overrides: str) -> Path:
    """Runs the stage; returns its folder."""
    config = compose_config([f"paths.runs={runs}", "compare.permutations=19", *overrides])
    execute(COMPARE, config, command="moescope compare")
    return config.paths.comparison


@pytest.fixture(scope="module")
def comparison(runs: Path) -> Path:
    return compare(runs)


class TableReader(HTMLParser):
    """Collects the rows of the table of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = self.cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside |= tag == "table" and ("class", "runs") in attrs
        if self.inside and tag == "tr":
            self.rows.append([])
        if self.inside and tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell &= tag not in ("td", "th")
        self.inside &= tag != "table"

    def handle_data(self, data: str) -> None:
        if self.inside and self.cell:
            self.rows[-1][-1] += data


def page_of(comparison: Path) -> str:
    return (comparison / "compare.html").read_text()


def test_the_table_shows_what_its_csv_holds(comparison: Path) -> None:
    reader = TableReader()
    reader.feed(page_of(comparison))
    heading, *shown = reader.rows
    table = pd.read_csv(comparison / "tables" / "runs.csv").fillna({"band": ""})
    columns = {title: name for name, title in MEASURES.items()}
    assert len(shown) == len(table) == 3
    for row in shown:
        expected = table[table.run == row[0]].iloc[0]
        for title, text in zip(heading[1:], row[1:], strict=True):
            value = expected[columns.get(title, title)]
            if title in ("most topical layer", "masking.probability"):
                value = f"{value:g}"
            assert text == cell_text(columns.get(title, title), value), title


def test_figures_show_what_their_csv_holds(comparison: Path) -> None:
    found = re.search(r'id="figures">(.*?)</script>', page_of(comparison))
    assert found
    panels = json.loads(found[1])["panels"]
    layers = pd.read_csv(comparison / "tables" / "layers-topic-share.csv")
    traces = {trace["name"]: trace for trace in panels["layers-topic-share"][""]["data"]}
    for row in layers.itertuples():
        trace = traces[row.run]
        assert trace["y"][trace["x"].index(row.layer)] == pytest.approx(row.topic_share, rel=1e-4)
    pairs = pd.read_csv(comparison / "tables" / "similarity.csv")
    for row in random.Random(0).sample(list(pairs.itertuples()), 4):
        cells = panels["similarity"][str(row.layer)]["data"][0]
        order = pd.read_csv(comparison / "tables" / "runs.csv").run.tolist()
        value = cells["z"][order.index(row.first)][order.index(row.second)]
        assert value == pytest.approx(row.similarity, rel=1e-4)


def test_settings_that_differ_are_columns_and_the_others_are_folded(comparison: Path) -> None:
    summary = json.loads((comparison / "summary.json").read_text())
    assert summary["settings"] == ["masking.probability"]
    settings = pd.read_csv(comparison / "tables" / "settings.csv")
    assert settings["source.path"].unique().tolist() == [HOSTILE]
    assert "source.path=&lt;/script&gt;&lt;img" in page_of(comparison)


def test_only_losses_over_one_dataset_share_a_letter(comparison: Path) -> None:
    table = pd.read_csv(comparison / "tables" / "runs.csv").set_index("run")
    letters = table.loss_group.tolist()
    assert letters[1] == letters[2] != letters[0]
    quality = claim_of(comparison, "quality")
    assert quality.startswith("Of the 2 runs scored on probe labels B, ")
    assert "losses of different letters do not compare" in quality


def claim_of(comparison: Path, subject: str) -> str:
    verdict = json.loads((comparison / "summary.json").read_text())["verdict"]
    return next(sentence["claim"] for sentence in verdict if sentence["subject"] == subject)


def test_renumbered_experts_are_matched_and_runs_are_alike(comparison: Path) -> None:
    pairs = pd.read_csv(comparison / "tables" / "similarity.csv")
    assert len(pairs) == 3 * 2  # pairs of runs × layers
    assert pairs.similarity.min() > 0.99
    assert pairs.null_high.max() < 0.8
    matches = pd.read_csv(comparison / "tables" / "matched-experts.csv")
    turned = matches[matches.second == "rate=0.3"]
    assert turned[turned.layer == 0].matched_expert.tolist() == [3, 1, 4, 0, 7, 6, 5, 2]


def routed(name: str, layers: list[tuple[float, float]]) -> dict[str, Any]:
    """The measures of a run with these shares of log2 T and p-values by layer."""
    summary = [
        {
            "layer": layer,
            "topic_information_bits": share,
            "topic_information_share": share,
            "family_p_value": p_value,
            "band": "weak",
        }
        for layer, (share, p_value) in enumerate(layers)
    ]
    run = SimpleNamespace(name=name, summary={"layers": summary}, tables={})
    return {"run": name, **_routing(run)}


def test_topic_claims_rest_on_layers_beyond_chance() -> None:
    unsure, sure = routed("unsure", [(0.03, 0.5)]), routed("sure", [(0.01, 0.004), (0.012, 0.2)])
    assert (sure["topic_layer"], sure["topic_p"]) == ("0", 0.004)
    (both,) = _topics(pd.DataFrame([unsure, sure]))
    assert both.claim == ("Topic information in 1 of 2 runs; at its strongest 1.0% (weak) in sure.")
    (none,) = _topics(pd.DataFrame([unsure]))
    assert none.claim == "No evidence of topic information in any of 1 runs."


def test_settings_of_several_runs_are_held_against_seeds(comparison: Path) -> None:
    claim = claim_of(comparison, "seeds")  # two runs of one setting, one of another
    assert "cannot be told from 3 runs of 2 settings: no p could fall below 0.33." in claim
    table = pd.read_csv(comparison / "tables" / "settings-against-seeds.csv")
    assert (table[["runs", "settings"]] == (3, 2)).all(axis=None)
    assert "Settings against seeds" in page_of(comparison)


def test_page_is_closed_to_the_network_and_to_hostile_settings(comparison: Path) -> None:
    page = page_of(comparison)
    own = page.split("<script>")[0]
    assert "default-src 'none'" in own
    assert "<img" not in page.replace(page.split("<script>")[1].split("</script>")[0], "")
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", own)
    assert not re.findall(r"<[^>]+\son\w+\s*=", own.split('id="figures"')[0])


def test_a_run_that_misses_a_part_is_named_and_shown_without_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs, tmp_path / "runs", ignore=shutil.ignore_patterns("comparison"))
    first, second, third = (tmp_path / "runs" / name for name in NAMES)
    (first / "metrics.jsonl").unlink()
    (second / "routing" / "tables.safetensors").write_bytes(b"broken")
    shutil.rmtree(third / "report")
    folder = compare(tmp_path / "runs", f"compare.runs=['{first.name}','{second.name}','sweep*']")
    printed = capsys.readouterr().err
    assert "rate=0.15: no metrics.jsonl" in printed
    assert "tables.safetensors: damaged routing store" in printed
    assert f"{third.name}: left out, no report yet" in printed
    table = pd.read_csv(folder / "tables" / "runs.csv")
    assert table.topic_share.notna().tolist() == [True, True]
    assert set(pd.read_csv(folder / "tables" / "validation-loss.csv").run) == {"rate=0.3"}
    verdict = json.loads((folder / "summary.json").read_text())["verdict"]
    assert "similarity" not in {sentence["subject"] for sentence in verdict}


def test_a_comparison_is_redone_when_a_run_has_changed(
    runs: Path, comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(runs)
    assert "up to date" in capsys.readouterr().err
    amend(runs / NAMES[2] / "model", f"model-{NAMES[1]}", {"mask": "dataset-b"}, {"seed": 1})
    amend(runs / NAMES[2] / "report", "report-again", {"train": f"model-{NAMES[1]}"}, {})
    compare(runs)
    assert "up to date" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["sweep,rate=0.51"], "did you mean 'sweep,rate=0.15'"),
        (["nothing*"], "matches 'nothing*'"),
        (["sweep,rate=0.15"], "needs two runs"),
    ],
)
def test_what_cannot_be_compared_is_said(runs: Path, asked: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        find_runs(asked, runs)


def test_runs_stand_in_the_order_of_their_numbers(tmp_path: Path, runs: Path) -> None:
    names = ["s,length=64,rate=0.05", "s,length=64,rate=0.3", "s,length=128,rate=0.15"]
    for name in reversed(names):
        shutil.copytree(runs / NAMES[0], tmp_path / name)
    assert [folder.name for folder in find_runs(["s*"], tmp_path)[0]] == names


def test_a_run_named_twice_counts_once(runs: Path) -> None:
    folders, skipped = find_runs([NAMES[0], str(runs / NAMES[0]), "sweep,rate=0.3*"], runs)
    assert [folder.name for folder in folders] == list(NAMES)
    assert skipped == []


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["demo", "dense"], ["demo", "dense"]),
        (["demo,seed=0", "demo,seed=1"], ["seed=0", "seed=1"]),
        (["a,x=1,y=2", "a,x=1,y=3"], ["y=2", "y=3"]),
        (["demo", "demo,seed=1"], ["demo", "demo,seed=1"]),
        (["one/demo", "two/demo"], ["one/demo", "two/demo"]),
    ],
)
def test_labels_drop_what_all_names_begin_with(names: list[str], labels: list[str]) -> None:
    assert run_labels([Path(name) for name in names]) == labels


@pytest.mark.parametrize(
    ("p_values", "tone", "says"),
    [
        ([0.01, 0.01], "finding", "In every comparison of a layer, experts of two runs can be"),
        ([0.01, 0.4], "finding", "In 1 of 2 comparisons of a layer, experts of two runs can be"),
        (
            [0.4, 0.4],
            "none",
            "No evidence that the experts of any two runs take similar token types",
        ),
    ],
)
def test_the_sentence_on_similarity_says_what_was_tested(
    p_values: list[float], tone: str, says: str
) -> None:
    frame = pd.DataFrame({"first": "a", "second": "b", "layer": [0, 1], "p_value": p_values})
    sentence = _similarity(frame.assign(similarity=0.3, null_mean=0.2))
    assert sentence.tone == tone
    assert sentence.claim.startswith(says)
    assert "alike" not in sentence.claim
    assert _similarity(frame[:0]).tone == "warning"


@pytest.mark.parametrize(
    ("family_p", "smallest", "tone", "says"),
    [
        (0.01, 0.004, "finding", "The settings move the validation loss more than seeds do"),
        (0.4, 0.004, "none", "No evidence that the settings move anything more than seeds do."),
        (0.33, 0.33, "none", "Whether the settings move more than seeds do cannot be told"),
    ],
)
def test_the_sentence_on_seeds_says_what_was_tested(
    family_p: float, smallest: float, tone: str, says: str
) -> None:
    facts = {"explained": 0.5, "null_low": 0.1, "null_high": 0.6, "setting_sd": 1.0, "seed_sd": 0.5}
    sizes = {"smallest_p": smallest, "is_exact": True, "runs": 6, "settings": 3, "permutations": 90}
    row = {"measure": "validation_loss", "family_p_value": family_p, **facts, **sizes}
    sentence = _seeds(pd.DataFrame([row]))
    assert sentence.tone == tone
    assert sentence.claim.startswith(says)
    assert "all 90 ways to give the settings to the runs" in sentence.evidence
