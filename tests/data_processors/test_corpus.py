"""The corpus stage as its users meet it: files on disk, and one line when the input is bad."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moescope.command_line import main
from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import Manifest
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS
from moescope.data_processors.audit_warnings import AuditWarning
from moescope.data_processors.corpus import KEPT_FILE
from moescope.data_processors.documents import SCHEMA, SPLITS
from tests.conftest import hear_interrupts

SMALL = ["source=synthetic", "source.num_topics=3", "source.documents_per_topic=80"]


def build(folder: Path, *overrides: str) -> Manifest:
    config = compose_config(["name=t", f"paths.runs={folder}", *overrides])
    return execute(CORPUS, config, command="test")


def rows(folder: Path, split: str) -> list[dict]:
    files = sorted((folder / "t" / "corpus").glob(f"{split}-*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()


def audit(folder: Path) -> dict:
    return json.loads((folder / "t" / "corpus" / "audit.json").read_text())


def write_jsonl(path: Path, documents: Sequence[dict]) -> str:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return f"source.path={path}"


def texts(count: int, topic: str, start: int = 0) -> list[dict]:
    """Texts without a run of five words in common."""
    return [
        {"topic": topic, "text": " ".join(f"{topic}{n}word{k}" for k in range(12))}
        for n in range(start, start + count)
    ]


def test_what_is_on_disk_is_what_the_contract_says(tmp_path: Path) -> None:
    counts = build(tmp_path, *SMALL, "corpus.shard_documents=50").counts
    folder = tmp_path / "t" / "corpus"
    names = {path.name for path in folder.iterdir()}
    assert {"train-00000-of-00004.parquet", "audit.json", "manifest.json"} <= names
    assert not any(name.startswith(".") for name in names)
    found = {split: rows(tmp_path, split) for split in SPLITS}
    assert all(pq.read_schema(path).equals(SCHEMA) for path in folder.glob("*.parquet"))
    assert {split: len(found[split]) for split in SPLITS} == counts["documents"]
    assert sum(counts["documents"].values()) == 240
    for split in SPLITS:
        for topic, count in counts["documents_per_topic"][split].items():
            assert count == sum(row["topic"] == topic for row in found[split])
    assert counts["topics"] == ["topic_0", "topic_1", "topic_2"]
    assert set(counts["documents_per_topic"]["probe"].values()) == {20}
    ids = [row["id"] for split in SPLITS for row in found[split]]
    assert len(set(ids)) == len(ids)


def test_the_same_config_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = build(tmp_path / "a", *SMALL)
    assert build(tmp_path / "b", *SMALL).fingerprint == first.fingerprint
    assert build(tmp_path / "c", *SMALL, "seed=1").fingerprint != first.fingerprint


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    source = write_jsonl(path, texts(20, "a") + texts(20, "b"))
    first = build(tmp_path, "source=files", source)
    write_jsonl(path, texts(20, "a") + texts(20, "b", start=1))
    assert build(tmp_path, "source=files", source).fingerprint != first.fingerprint


def test_topics_are_renamed_merged_chosen_and_balanced(tmp_path: Path) -> None:
    documents = texts(40, "a") + texts(30, "b") + texts(20, "c") + texts(30, "d")
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    counts = build(
        tmp_path,
        "source=files",
        source,
        "+corpus.topics.rename={b: bc, c: bc}",
        "corpus.topics.include=[bc, a]",
        "corpus.topics.balance=true",
    ).counts
    assert counts["topics"] == ["bc", "a"]
    assert counts["removed"] == {"balance": 10}
    totals = {t: sum(counts["documents_per_topic"][s][t] for s in SPLITS) for t in ("a", "bc")}
    assert totals == {"a": 40, "bc": 40}


def test_groups_stay_together(tmp_path: Path) -> None:
    documents = [{**row, "who": n // 3} for n, row in enumerate(texts(60, "a") + texts(60, "b"))]
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    build(tmp_path, "source=files", source, "source.group_column=who")
    where: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in rows(tmp_path, split):
            where.setdefault(row["group"], set()).add(split)
    assert len(where) == 40
    assert all(len(splits) == 1 for splits in where.values())


@pytest.mark.parametrize("method", ["nmf", "kmeans"])
def test_derived_topics_find_what_is_there(tmp_path: Path, method: str) -> None:
    fields = {
        "cooking": "butter flour oven sugar recipe dough bake kitchen whisk pastry",
        "sailing": "harbour mast anchor wind captain deck voyage sail rudder tide",
    }
    field_of = {word: field for field, words in fields.items() for word in words.split()}
    documents = []
    for number in range(80):
        words = fields[["cooking", "sailing"][number % 2]].split()
        chosen = [words[(number // 2 + k * (1 + number // 20)) % 10] for k in range(15)]
        documents.append({"text": " ".join([*chosen, "the", f"n{number}"])})
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    build(
        tmp_path,
        "source=files",
        source,
        "source.topic_column=null",
        "corpus.clean.near_duplicates=false",
        f"corpus.topics.derive={method}",
        "corpus.topics.num_derived=2",
    )
    named = [{field_of[term] for term in name.split("_")} for name in audit(tmp_path)["topics"]]
    assert sorted(named, key=str) == [{"cooking"}, {"sailing"}]
    for split in SPLITS:
        for row in rows(tmp_path, split):
            term, word = row["topic"].split("_")[0], row["text"].split()[0]
            assert field_of[term] == field_of[word]


def test_the_audit_finds_what_was_planted(tmp_path: Path) -> None:
    documents = texts(40, "a") + texts(40, "b")
    documents += [{"topic": "b", "text": row["text"]} for row in documents[:10]]
    documents += [{"topic": "c", "text": f"мир {n} " + "слово " * (n + 60)} for n in range(20)]
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    build(tmp_path, "source=files", source, "corpus.clean.near_threshold=1.0")
    found = audit(tmp_path)
    assert found["exact_duplicates"]["across_topics"] == 10
    assert found["exact_duplicates"]["topic_pairs"] == [{"kept": "a", "repeat": "b", "count": 10}]
    assert found["non_latin_share"] == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert found["word_overlap"][0][1] == 0
    assert found["words"]["a"]["median"] == 12
    warned = " ".join(AuditWarning(**warning).text for warning in found["warnings"])
    assert "other scripts than Latin (c 100%)" in warned
    assert "exact duplicates had their original in another topic (removed)" in warned
    kept = ["corpus.clean.exact_duplicates=false", "corpus.clean.near_duplicates=false"]
    build(tmp_path, "source=files", source, *kept)
    found = audit(tmp_path)
    assert found["exact_duplicates"]["removed"] == 0
    where = {row["text"]: split for split in SPLITS for row in rows(tmp_path, split)}
    assert 0 < found["exact_duplicates"]["across_splits"] <= 10
    assert len(where) < sum(len(rows(tmp_path, split)) for split in SPLITS)


def test_one_topic_is_allowed_with_a_warning(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "x.jsonl", texts(30, "a"))
    manifest = build(tmp_path, "source=files", source, "source.topic_column=null")
    assert manifest.counts["topics"] == ["all"]
    assert audit(tmp_path)["warnings"] == [{"kind": "one_topic", "values": {"topic": "all"}}]


BAD_CORPORA: dict[str, tuple[list[dict], list[str], str]] = {
    "empty file": ([], [], "no documents there"),
    "too short": ([{"text": "hi", "topic": "a"}] * 3, [], "all 3 documents .* longest has 2 char"),
    "no labels": ([{"text": "x" * 99, "topic": None}], [], r"\(1 no_topic\)"),
    "one per topic": (texts(1, "a") + texts(9, "b"), [], "'a' has 1 document.* at least 4"),
    "no such topic": (
        texts(9, "cats") + texts(9, "dogs"),
        ["corpus.topics.include=[cat]"],
        "'cat' .did you mean 'cats'",
    ),
    "emptied topic": (
        [*texts(9, "cats"), {"text": "short", "topic": "dogs"}],
        ["corpus.topics.include=[cats, dogs]"],
        "'dogs' has no documents left",
    ),
    "rename": (
        texts(9, "cats"),
        ["+corpus.topics.rename={cots: x}"],
        "'cots' .did you mean 'cats'",
    ),
    "bad date": (
        [{**row, "when": "soon"} for row in texts(5, "a")],
        ["source.date_column=when"],
        "x.jsonl line 1: when='soon'",
    ),
    "few to derive from": (
        texts(5, "a"),
        ["corpus.topics.derive=nmf"],
        "num_derived=8: .* too few",
    ),
    "groups": (texts(9, "a"), ["corpus.topics.min_groups=10"], "most: 9"),
}


@pytest.mark.parametrize("case", BAD_CORPORA)
def test_a_bad_corpus_is_refused_and_the_old_one_kept(tmp_path: Path, case: str) -> None:
    documents, overrides, expected = BAD_CORPORA[case]
    good = build(tmp_path, *SMALL)
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    with pytest.raises(UserError, match=expected) as caught:
        build(tmp_path, "source=files", source, *overrides)
    assert "\n" not in str(caught.value)
    kept = Manifest.model_validate_json((tmp_path / "t" / "corpus" / "manifest.json").read_text())
    assert kept == good
    assert left_in(tmp_path / "t") == {"corpus"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["source=pidocs"], "pydocs"),
        (["source=files"], "source.path"),
        (["source=files", "source.path=/no/such/place"], "/no/such/place"),
        (["source=ag_news"], "hub"),
        (["corpus.clean.min_char=3"], "corpus.clean.min_chars"),
        (["corpus.splits.validation=0.7"], "corpus.splits.validation"),
    ],
)
def test_the_command_line_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["corpus", "name=t", f"paths.runs={tmp_path}", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert expected in lines[0]


def test_sotu_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["source=sotu", "source.topic=president", "corpus.topics.min_groups=4"]
    assert main(["corpus", "name=t", f"paths.runs={tmp_path}", *arguments]) == 0
    probe = rows(tmp_path, "probe")
    assert all(row["date"] is not None for row in probe)
    assert "Abraham Lincoln" in {row["topic"] for row in probe}


def test_hostile_text_is_kept_as_data(tmp_path: Path) -> None:
    hostile = [
        "</script><img src=x onerror=alert(1)> {number} and enough other words to be kept",
        "\x00nul, bell \x07, lone surrogate \ud800 and pair \ud83d\ude00 in text {number}, long",
        "\u202eright to left שלום עולם {number} with an overlong word " + "x" * 5000,
    ]
    documents = [
        {"topic": f"t{n % 2}\ud800", "text": f"{n} " + hostile[n % 3].format(number=f"{n} " * 9)}
        for n in range(60)
    ]
    source = write_jsonl(tmp_path / "x.jsonl", documents)
    cleaning = ["corpus.clean.near_duplicates=false", "corpus.clean.min_chars=20"]
    counts = build(tmp_path, "source=files", source, *cleaning).counts
    assert counts["topics"] == ["t0\ufffd", "t1\ufffd"]
    found = " ".join(row["text"] for split in SPLITS for row in rows(tmp_path, split))
    assert "<img src=x onerror=alert(1)>" in found
    assert "bell \x07, lone surrogate \ufffd and pair 😀" in found
    assert "\x00" not in found
    assert sum(counts["documents"].values()) == 60
    assert "\u202eright" in found


def left_in(run: Path) -> set[str]:
    """Names results and what is half made; locks and noted hashes are neither."""
    names = {path.name for path in run.glob("*")}
    return {name for name in names if not name.startswith(".") or name.endswith(".partial")}


def living_processes(group: int) -> list[str]:
    """Lists the processes of a group that have not ended."""
    command = ["ps", "-eo", "pgid=,pid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [pid for number, pid, state in rows if int(number) == group and state[0] != "Z"]


def test_ctrl_c_while_reading_in_parallel_leaves_one_line_and_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "moescope", "corpus", "name=t", f"paths.runs={tmp_path}"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    kept = tmp_path / "t" / ".corpus.partial" / KEPT_FILE
    deadline = time.monotonic() + 60
    while not (kept.exists() and kept.stat().st_size > 4) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) == 1
    assert left_in(tmp_path / "t") == set()
    deadline = time.monotonic() + 60  # Python's own helper process ends after the one it serves
    while living_processes(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living_processes(process.pid)
