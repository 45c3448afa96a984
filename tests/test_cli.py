"""Bad input through the real command line: one clear line, exit code 2, earlier results kept."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moescope.configs.manifest import hash_folder
from moescope.train.owner import OWNER_FILE, Owner
from tests.conftest import ROOT, Command, hear_interrupts

FILES = ("corpus", "source=files", "name=t", "corpus.clean.min_chars=5")


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Asserts exit code 2 and one line on stderr that holds every word."""
    assert done.returncode == 2, (done.returncode, done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("moescope: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """Writes JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def documents(topic: str, count: int, words: int = 12) -> list[dict[str, str]]:
    """Makes distinct documents of one topic."""
    return [
        {"text": " ".join(f"{topic}{number}word{word}" for word in range(words)), "topic": topic}
        for number in range(count)
    ]


def test_without_a_stage_it_says_what_there_is(command: Command) -> None:
    done = command()
    assert done.returncode == 2
    assert "moescope pipeline" in done.stdout


@pytest.mark.parametrize("stage", ["corpus", "mask", "train", "route", "report", "pipeline"])
def test_help_explains_every_parameter_of_the_stage(command: Command, stage: str) -> None:
    done = command(stage, "--help")
    assert done.returncode == 0, done.stderr
    for key in ("seed", "force", "paths.runs", "experiment="):
        assert key in done.stdout
    own = {
        "corpus": "source.fields",
        "mask": "masking.probability",
        "train": "train.floor",
        "route": "route.max_types",
        "report": "report.permutations",
        "pipeline": "corpus.clean.near_threshold",
    }
    assert own[stage] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("corpsu",), ["'corpsu'", "did you mean 'corpus'"]),
        (("corpus", "source=pydoc"), ["source", "'pydoc'", "did you mean 'pydocs'"]),
        (("mask", "masking=spam"), ["masking", "'spam'", "did you mean 'span'"]),
        (("train", "model=moe_encodr"), ["model", "did you mean 'moe_encoder'"]),
        (("train", "model=gptme"), ["model", "did you mean 'gptime'"]),
        (("train", "experiment=demos"), ["experiment", "did you mean 'demo'"]),
        (("train", "train.lerning_rate=1"), ["did you mean 'train.learning_rate'"]),
        (("mask", "masking.probability=1.2"), ["masking.probability=1.2", "less than 1"]),
        (("mask", "masking.probability=-1"), ["masking.probability=-1", "greater than 0"]),
        (("mask", "dataset.sequence_length=4096"), ["4096", "max_position_embeddings=512"]),
        (("train", "router.top_k=9"), ["router.top_k=9", "model.num_experts=8"]),
        (("mask", "name=never_made"), ["never_made/corpus", "moescope corpus"]),
        (("corpus", "source=files", "source.path=nowhere.jsonl"), ["nowhere.jsonl"]),
        (("corpus", "source=hub", "source.dataset=fancyzhx/ag_news"), ["ag_news", "network"]),
    ],
)
def test_refused(command: Command, tmp_path: Path, arguments: tuple[str, ...], words: list[str]):
    more = () if arguments == ("corpsu",) else (f"paths.runs={tmp_path}",)
    refused(command(*arguments, *more), *words)
    assert not list(tmp_path.rglob("manifest.json"))


def corpus_of(command: Command, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs the corpus stage on a file, with runs beside it."""
    return command(*FILES, f"source.path={path}", f"paths.runs={path.parent / 'runs'}", *more)


def test_bad_files_are_named_with_their_line(command: Command, tmp_path: Path) -> None:
    good = documents("a", 40) + documents("b", 40)
    path = write_lines(tmp_path / "broken.jsonl", good)
    path.write_text(path.read_text() + '{"text": "unfinished\n')
    refused(corpus_of(command, path), "broken.jsonl", "81")

    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"text": "caf\xe9 caf\xe9", "topic": "a"}\n'.encode("latin-1"))
    refused(corpus_of(command, latin), "latin.jsonl", "utf-8")

    path = write_lines(tmp_path / "column.jsonl", good)
    refused(corpus_of(command, path, "source.text_column=txt"), "txt", "text")


def test_corpora_that_cannot_serve(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    refused(corpus_of(command, tmp_path / "empty.jsonl"), "empty.jsonl")

    path = write_lines(tmp_path / "short.jsonl", documents("a", 40, words=1))
    refused(corpus_of(command, path, "corpus.clean.min_chars=500"), "min_chars", "500")

    path = write_lines(tmp_path / "topics.jsonl", documents("a", 40) + documents("b", 40))
    refused(corpus_of(command, path, "corpus.topics.include=[a,bb]"), "bb", "did you mean 'b'")

    path = write_lines(tmp_path / "single.jsonl", documents("a", 1) + documents("b", 1))
    refused(corpus_of(command, path), "document")


def with_run(debug_run: Path, tmp_path: Path, *names: str) -> tuple[str, ...]:
    """Overrides for a new run that reads the debug run's folders."""
    paths = [f"paths.{name}={debug_run / name}" for name in names]
    return ("experiment=debug", "name=t", f"paths.runs={tmp_path}", *paths)


def test_vocabulary_larger_than_the_text_supports(
    command: Command, debug_run: Path, tmp_path: Path
) -> None:
    overrides = with_run(debug_run, tmp_path, "corpus")
    refused(command("mask", *overrides, "tokenizer.vocab_size=900000"), "vocab_size", "900")


def test_checkpoint_and_dataset_must_match(
    command: Command, debug_run: Path, tmp_path: Path
) -> None:
    overrides = with_run(debug_run, tmp_path, "corpus", "model")
    done = command("mask", *overrides, "tokenizer.vocab_size=600", "--yes")
    assert done.returncode == 0, done.stderr
    refused(command("route", *overrides, "tokenizer.vocab_size=600"), "tokenizer")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((), ["document", "has no date", "router.column=year"]),
        (("router.column=topc",), ["router.column=topc", "did you mean 'topic'"]),
        (
            ("router.column=topic", "router.values=[topic_0]", "model.num_experts=2"),
            ["document", "unknown value 'topic_", "topic_0"],
        ),
        (
            (
                "router.column=topic",
                "router.top_k=1",
                "router.renormalise=false",
                "router.shared=3",
            ),
            ["4 values", "1 expert"],
        ),
    ],
    ids=["no dates", "no such column", "unknown label", "too few experts"],
)
def test_metadata_that_a_masked_router_cannot_use(
    command: Command, debug_run: Path, tmp_path: Path, changes: tuple[str, ...], words: list[str]
) -> None:
    overrides = with_run(debug_run, tmp_path, "corpus", "dataset")
    refused(command("train", *overrides, "router=masked", *changes), *words)


def test_a_refused_setting_leaves_the_checkpoints_of_another(
    command: Command, debug_run: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "t" / "checkpoints" / "checkpoint-30"
    checkpoint.mkdir(parents=True)
    owner = Owner(settings={}, inputs={}, examples_per_step=1, precision="fp32", total_steps=9)
    owner.write(checkpoint.parent / OWNER_FILE)
    overrides = with_run(debug_run, tmp_path, "corpus", "dataset")
    refused(command("train", *overrides, "router.top_k=1"), "router.top_k", "never learns")
    assert checkpoint.is_dir()


@pytest.fixture(scope="module")
def dated(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides of a small decoder over texts of the years 1900 to 1959, in a made dataset."""
    folder = tmp_path_factory.mktemp("dated")
    rows = [{**row, "year": 1900 + number} for number, row in enumerate(documents("a", 60))]
    path = folder / "dated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = (
        *(f"source.path={path}", f"paths.runs={folder}", "source=files", "name=t"),
        *("source.date_column=year", "corpus.clean.min_chars=5", "tokenizer=char"),
        *("model=gptime", "masking=none", "tracking=none", "model.hidden_size=16"),
        *("corpus.clean.near_duplicates=false", "dataset.sequence_length=32"),
        *(f"paths.corpus={folder}/corpus", f"paths.dataset={folder}/dataset"),
        *("train.max_steps=2", "train.eval_every=2", "train.batch_size=4"),
    )
    for stage in ("corpus", "mask"):
        done = command(stage, *overrides)
        assert done.returncode == 0, done.stderr
    return overrides


def test_a_document_outside_the_periods_is_named(command: Command, dated: tuple[str, ...]) -> None:
    done = command("train", *dated, "router=masked", "router.values=[1910,1930]")
    refused(done, "document 'dated.jsonl:", "year=190", "1910 to 1959")


def test_three_routings_end_with_their_perplexities(
    command: Command, dated: tuple[str, ...]
) -> None:
    done = command("train", *dated, "moe_routing=none,standard_gating,masked", "-m")
    assert done.returncode == 0, done.stderr
    table = done.stderr[done.stderr.index("perplexity", done.stderr.rindex("nats/token")) :]
    for routing in ("none", "standard_gating", "masked"):
        assert f"moe_routing_{routing}" in table
    assert len(re.findall(r"\d,\d{3} │", table)) == 6  # parameters and active ones


def test_an_encoder_needs_masks(command: Command, debug_run: Path, tmp_path: Path) -> None:
    overrides = with_run(debug_run, tmp_path, "corpus")
    done = command("mask", *overrides, "masking=none", "dataset.packing=blocks")
    assert done.returncode == 0, done.stderr
    refused(command("train", *overrides, "masking=none"), "masking=none", "model.is_causal=true")


def test_a_truncated_checkpoint_is_named(command: Command, debug_run: Path, tmp_path: Path) -> None:
    shutil.copytree(debug_run / "model", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    overrides = with_run(debug_run, tmp_path, "corpus", "dataset")
    done = command("route", *overrides, f"paths.model={tmp_path / 'model'}")
    refused(done, "model.safetensors")


def read_only_folder(tmp_path: Path) -> Path:
    """A folder that nobody can write: sysfs for root, mode 0500 for everyone else."""
    if os.geteuid() == 0:
        return Path("/sys")
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o500)
    return folder


def test_read_only_output(command: Command, tmp_path: Path) -> None:
    folder = read_only_folder(tmp_path)
    refused(command("corpus", "experiment=debug", f"paths.runs={folder}"), str(folder), "write")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 kB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("stage", ["corpus", "mask", "train", "route", "report"])
def test_full_disk(
    command: Command, debug_run: Path, tmp_path: Path, full_disk: Path, stage: str
) -> None:
    upstream = {
        "corpus": (),
        "mask": ("corpus",),
        "train": ("corpus", "dataset"),
        "route": ("corpus", "dataset", "model"),
        "report": ("corpus", "dataset", "model", "routing", "metrics"),
    }[stage]
    paths = [f"paths.{name}={_place(debug_run, name)}" for name in upstream]
    done = command(stage, "experiment=debug", f"paths.runs={full_disk}", *paths)
    refused(done, str(full_disk), "No space left")
    assert not list(full_disk.rglob("manifest.json"))


def _place(run: Path, name: str) -> Path:
    return run / ("metrics.jsonl" if name == "metrics" else name)


@pytest.mark.parametrize(
    ("stage", "output"),
    [
        ("corpus", "corpus"),
        ("mask", "dataset"),
        ("train", "model"),
        ("route", "routing"),
        ("report", "report"),
    ],
)
def test_interrupt_keeps_what_was_there(
    debug_run: Path, tmp_path: Path, stage: str, output: str
) -> None:
    run = tmp_path / "debug"
    shutil.copytree(debug_run, run)
    before = hash_folder(run / output)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "moescope", stage, "experiment=debug"),
            *(f"paths.runs={tmp_path}", "force=true", "train.max_steps=5000"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    partial = run / f".{output}.partial"
    while not partial.exists():
        assert process.poll() is None, "the stage ended before it could be interrupted"
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 130, printed[-2000:]
    assert "Traceback" not in printed
    assert "interrupted" in printed
    assert hash_folder(run / output) == before
    assert not partial.exists()


def test_pipeline_runs_and_then_has_nothing_to_do(command: Command, debug_run: Path) -> None:
    before = hash_folder(debug_run)
    done = command("pipeline", "experiment=debug", f"paths.runs={debug_run.parent}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("up to date") == 5
    assert hash_folder(debug_run) == before


def test_multirun_gives_each_setting_its_own_run(
    command: Command, debug_run: Path, tmp_path: Path
) -> None:
    overrides = (
        "experiment=debug",
        f"paths.runs={tmp_path}",
        f"paths.corpus={debug_run / 'corpus'}",
    )
    done = command("mask", *overrides, "masking.probability=0.15,0.3", "-m")
    assert done.returncode == 0, done.stderr
    found = sorted(path.parent.parent.name for path in tmp_path.glob("*/dataset/manifest.json"))
    assert len(found) == 2
    assert all("masking.probability_0." in name for name in found)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["generate", "--help"], 0),
        (["generate", "name=nothing", "paths.model=/no/such/é", "a [MASK] é"], 2),
    ],
)
def test_an_ascii_locale_gets_help_and_errors(words: list[str], code: int) -> None:
    # its own process: Python settles on its encodings when it starts
    locale = {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "TERM": "dumb"}
    said = subprocess.run(
        [sys.executable, "-m", "moescope", *words],
        env=os.environ | locale,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == code, said.stderr
    assert len(said.stderr.splitlines()) == (code != 0)
