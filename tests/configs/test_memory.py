"""A run remembers its settings; what changes is said first, and asked for where it costs."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from moescope.configs.changes import announce, changed_settings
from moescope.configs.compose import compose_found
from moescope.configs.errors import UserError
from moescope.configs.hydra_run import _composed, _of_this_run, divide, refuse_unknown
from moescope.configs.load import load_config
from moescope.configs.manifest import Manifest, digest, hash_folder, read_manifest
from moescope.configs.memory import Settled, parse, settle
from moescope.configs.places import LAYOUT, read_places
from moescope.configs.rerun import _trains, find_run
from moescope.configs.results import is_result_of
from moescope.configs.stage import Stage
from moescope.configs.stages import IMPORT, PIPELINE, ROUTE, STAGES, TRAIN, trains_on
from moescope.configs.typed import take_apart
from tests.conftest import ROOT, Command

CORPUS, MASK, *_ = PIPELINE


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_module("moescope.configs", version_base="1.3"):
        yield


def settled(stages: list[Stage], runs: Path, *words: str) -> Settled:
    """What the command line makes of these words."""
    words = (f"paths.runs={runs}", *words)
    typed = take_apart(parse(words))
    return settle(compose("moescope", _composed([], words, typed)), typed, stages)


def settings(stage: Stage, runs: Path, *words: str) -> Any:
    return settled([stage], runs, *words).configs[stage.name]


def finish(stage: Stage, runs: Path, *words: str) -> None:
    """Writes a stage's manifest as if it had run with these words."""
    made = settled([stage], runs, *words)
    config = made.configs[stage.name]
    folder = getattr(config.paths, stage.output)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {}
    for name, key in stage.inputs.items():
        if (manifest := read_manifest(getattr(config.paths, key))) is not None:
            inputs[name] = manifest.fingerprint
    values = stage.settings(config)
    manifest = Manifest(
        stage=stage.name,
        config=values,
        side=config.model_dump(mode="json", include=set(stage.side_sections)),
        config_hash=digest(values),
        inputs=inputs,
        fingerprint=digest([stage.name, values]),
        files={},
        places=read_places(config.paths),
        upstream=dict(made.upstream[stage.name]),
        seed=config.seed,
        versions={},
        counts={},
        started_at="",
        elapsed_s=0,
        command="",
    )
    (folder / "manifest.json").write_text(manifest.sealed().model_dump_json())


CSV = ("source=files", "source.path=posts.csv", "source.text_column=body", "name=csv")
SMALL = ("model.hidden_size=64", "model.num_hidden_layers=2", "tracking=none", "name=small")


def test_a_stage_starts_from_what_its_run_says(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, *CSV, "seed=3")
    config = settings(CORPUS, tmp_path, "name=csv")
    assert (config.source.name, config.source.path, config.seed) == ("files", "posts.csv", 3)
    # one value more, of a section that is not the default's
    config = settings(CORPUS, tmp_path, "name=csv", "source.topic_column=label")
    assert (config.source.text_column, config.source.topic_column) == ("body", "label")
    # a preset that is named replaces its section, and no other
    finish(CORPUS, tmp_path, *CSV, "corpus.clean.min_chars=7")
    config = settings(CORPUS, tmp_path, "name=csv", "source=sotu", "source.era_years=10")
    assert (config.source.name, config.source.era_years) == ("sotu", 10)
    assert config.corpus.clean.min_chars == 7
    # another run remembers nothing of it
    assert settings(CORPUS, tmp_path, "name=other").source.name == "pydocs"


def test_stages_downstream_know_the_true_source(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, *CSV, "seed=5")
    finish(MASK, tmp_path, "name=csv", "masking=span", "masking.probability=0.3")
    config = settings(TRAIN, tmp_path, "name=csv")
    assert config.source.path == "posts.csv"  # what Aim is told
    assert (config.masking.name, config.masking.probability) == ("span", 0.3)
    assert config.seed == 5
    assert settings(TRAIN, tmp_path, "name=csv", "seed=1").seed == 1
    # upstream is what it is, whatever is typed
    config = settings(TRAIN, tmp_path, "name=csv", "source=sotu", "experiment=debug")
    assert config.source.path == "posts.csv"


def test_a_stage_whose_folder_is_gone_is_made_again_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(CORPUS, tmp_path, *CSV, "seed=5")
    finish(MASK, tmp_path, "name=csv", "masking=span", "masking.probability=0.3")
    finish(TRAIN, tmp_path, "name=csv", "model.num_hidden_layers=2", "tracking=none")
    finish(ROUTE, tmp_path, "name=csv")
    for folder in ("corpus", "dataset", "model"):
        shutil.rmtree(tmp_path / "csv" / folder)
    assert _trains(tmp_path / "csv")  # `rerun` makes the model anew
    config = settings(CORPUS, tmp_path, "name=csv")
    assert (config.source.name, config.source.path, config.seed) == ("files", "posts.csv", 5)
    rest = settled([*PIPELINE], tmp_path, "name=csv").configs["train"]
    assert (rest.masking.name, rest.model.num_hidden_layers) == ("span", 2)
    assert (rest.tracking.name, rest.source.path) == ("none", "posts.csv")
    # another source takes the data from under what was trained: it is said, and asked
    other = settled([CORPUS], tmp_path, "name=csv", "source=sotu")
    with pytest.raises(UserError, match=r"redoes what \S+/csv/routing holds"):
        announce([CORPUS], other, consent=False)
    assert "source.name files → sotu" in capsys.readouterr().err
    # what is made anew knows it as well
    finish(CORPUS, tmp_path, "name=csv", "source=sotu")
    finish(MASK, tmp_path, "name=csv")
    shutil.rmtree(tmp_path / "csv" / "corpus")
    assert settings(CORPUS, tmp_path, "name=csv").source.name == "sotu"


def test_settings_outlive_a_damaged_manifest_and_a_kill(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, *CSV)
    folder = tmp_path / "csv/corpus"
    path = folder / "manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"command":""', '"command":"x"'))
    assert settings(CORPUS, tmp_path, "name=csv").source.path == "posts.csv"
    # the settings themselves are damaged: nothing is made of defaults in silence
    path.write_text(whole.replace("posts.csv", "posts.csw"))
    with pytest.raises(UserError, match=r"csv/corpus/manifest\.json: changed .* are lost with it"):
        settings(CORPUS, tmp_path, "name=csv", "source.path=posts.csv")
    assert settings(CORPUS, tmp_path, *CSV).source.path == "posts.csv"
    assert settings(CORPUS, tmp_path, "name=csv", "force=true").source.name == "pydocs"
    # killed between two renames
    path.write_text(whole)
    folder.rename(folder.with_name(".corpus.replaced"))
    assert settings(CORPUS, tmp_path, "name=csv").source.path == "posts.csv"


def test_manifests_of_versions_with_other_fields_are_read(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, *CSV)
    path = tmp_path / "csv/corpus/manifest.json"
    content = json.loads(path.read_text()) | {"dropped": 1}
    del content["upstream"], content["seal"]
    path.write_text(json.dumps(content | {"seal": digest(content)}))
    assert read_manifest(path.parent) is not None
    path.write_text(json.dumps(content | {"seal": digest(content), "seed": 4}))
    with pytest.raises(UserError, match="changed since"):
        read_manifest(path.parent)


def test_typed_values_stay_and_the_others_are_remembered(tmp_path: Path) -> None:
    finish(TRAIN, tmp_path, *SMALL, "train.max_steps=5")
    config = settings(TRAIN, tmp_path, "name=small", "train.max_steps=10")
    assert (config.model.hidden_size, config.model.num_hidden_layers) == (64, 2)
    assert (config.train.max_steps, config.tracking.name) == (10, "none")
    # a typed value counts even where it is the default
    assert settings(TRAIN, tmp_path, "name=small", "train.max_steps=null").train.max_steps is None
    # presets of several sections lie over what is remembered
    finish(TRAIN, tmp_path, *SMALL, "router=masked", "balance.switch=0.5")
    config = settings(TRAIN, tmp_path, "name=small", "moe_routing=standard_gating")
    assert (config.router.name, config.model.hidden_size) == ("topk", 64)
    config = settings(TRAIN, tmp_path, "name=small", "moe_routing=none")
    assert (config.router.name, config.model.num_experts, config.model.hidden_size) == (
        *("masked", 0),
        64,
    )
    config = settings(TRAIN, tmp_path, "name=small", "moe_routing=masked", "balance.switch=1")
    assert (config.router.name, config.balance.switch) == ("masked", 1)


def test_an_experiment_is_a_whole_set_of_settings(tmp_path: Path) -> None:
    words = ("experiment=debug", "train.learning_rate=0.5")
    finish(TRAIN, tmp_path, *words)
    first = read_manifest(tmp_path / "debug" / "model")
    assert first is not None
    assert TRAIN.settings(settings(TRAIN, tmp_path, *words)) == first.config  # "up to date"
    assert settings(TRAIN, tmp_path, "experiment=debug").train.learning_rate != 0.5
    assert settings(TRAIN, tmp_path, "name=debug").train.learning_rate == 0.5


def test_sections_that_two_stages_have_are_each_ones_own(tmp_path: Path) -> None:
    finish(TRAIN, tmp_path, "name=r", "router=switch")
    finish(IMPORT, tmp_path, "name=r", "router=hash")
    assert settings(TRAIN, tmp_path, "name=r").router.name == "switch"
    assert settings(IMPORT, tmp_path, "name=r").router.name == "hash"


def test_maps_are_remembered_whole(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, "name=m", "~source.fields.plotting", "+source.fields.mine=[json]")
    fields = settings(CORPUS, tmp_path, "name=m").source.fields
    assert fields["mine"] == ["json"]
    assert "plotting" not in fields


def forget(stage: Stage, folder: Path, *keys: str) -> Manifest:
    """Makes a manifest one of a version that lacked a setting."""
    path = folder / stage.output / "manifest.json"
    manifest = Manifest.model_validate_json(path.read_text())
    section = manifest.config
    for key in keys[:-1]:
        section = section[key]
    del section[keys[-1]]
    manifest = manifest.model_copy(update={"config_hash": digest(manifest.config)}).sealed()
    path.write_text(manifest.model_dump_json())
    found = read_manifest(folder / stage.output)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("stage", "words", "keys", "other"),
    [
        (CORPUS, ["corpus.clean.min_chars=7"], ["corpus", "clean", "max_chars"], "9000"),
        (CORPUS, ["source=sotu"], ["source", "paragraphs"], "1"),
        (TRAIN, ["router=switch"], ["router", "capacity_factor"], "7"),
        (TRAIN, ["model=dense_encoder"], ["train", "adam_beta2"], "0.5"),
        (ROUTE, [], ["route", "max_types"], "3"),
    ],
)
def test_settings_that_are_newer_than_a_manifest_have_their_defaults(
    tmp_path: Path, stage: Stage, words: list[str], keys: list[str], other: str
) -> None:
    finish(stage, tmp_path, "name=m", *words)
    manifest = forget(stage, tmp_path / "m", *keys)
    now = settled([stage], tmp_path, "name=m")
    config = now.configs[stage.name]
    assert is_result_of(manifest, stage, config, manifest.inputs)
    assert not changed_settings(stage, config, now.remembered[stage.name])
    changed = settled([stage], tmp_path, "name=m", f"{'.'.join(keys)}={other}")
    config = changed.configs[stage.name]
    assert not is_result_of(manifest, stage, config, manifest.inputs)
    (change,) = changed_settings(stage, config, changed.remembered[stage.name])
    assert change[0] == ".".join(keys)


def test_a_stage_whose_folder_is_gone_says_where_its_settings_come_from(tmp_path: Path) -> None:
    finish(CORPUS, tmp_path, "name=m", "corpus.clean.min_chars=7")
    finish(MASK, tmp_path, "name=m")
    shutil.rmtree(tmp_path / "m" / "corpus")
    again = settled([CORPUS], tmp_path, "name=m")
    assert again.configs["corpus"].corpus.clean.min_chars == 7
    (note,) = again.notes
    assert f"{tmp_path}/m/corpus is gone" in note
    assert not settled([MASK], tmp_path, "name=m").notes


def test_generate_finds_a_model_that_lies_elsewhere(tmp_path: Path) -> None:
    elsewhere = f"paths.model={tmp_path}/elsewhere/model"
    finish(MASK, tmp_path, "name=m")
    finish(TRAIN, tmp_path, "name=m", elsewhere)
    finish(ROUTE, tmp_path, "name=m", elsewhere)
    GlobalHydra.instance().clear()
    found = compose_found([f"paths.runs={tmp_path}", "name=m"])
    assert found.paths.model == tmp_path / "elsewhere" / "model"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--hepl"], ["--hepl", "'--help'"]),
        (["--nosuch"], ["--nosuch", "KEY=VALUE"]),
        (["-z"], ["-z: no such flag"]),
        (["--multirn", "seed=1,2"], ["'--multirun'"]),
        (["--config-dir"], ["--config-dir: needs a value"]),
    ],
)
def test_an_unknown_flag_is_one_line(typed: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        refuse_unknown(divide(typed)[0])
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(
    "typed", [["--cfg", "job"], ["--config-dir", "--x"], ["-m"], ["--info=all"]]
)
def test_hydras_own_flags_are_left_to_it(typed: list[str]) -> None:
    refuse_unknown(divide(typed)[0])


def test_folders_elsewhere_are_found_and_a_run_can_be_moved(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    finish(CORPUS, runs, *CSV)
    finish(MASK, runs, "name=csv")
    finish(TRAIN, runs, "name=dense", f"paths.dataset={runs}/csv/dataset")
    for folder in (runs, tmp_path / "moved"):
        if folder != runs:
            runs.rename(folder)
        config = settings(ROUTE, folder, "name=dense")
        assert config.paths.dataset == folder / "csv" / "dataset"
        assert config.paths.corpus == folder / "csv" / "corpus"  # beside the dataset
        assert config.source.path == "posts.csv"
    shutil.copytree(folder / "csv", folder / "copy")
    assert settings(TRAIN, folder, "name=copy").paths.dataset == folder / "copy" / "dataset"


def test_a_shared_corpus_keeps_its_seed(tmp_path: Path) -> None:
    shared = (f"paths.corpus={tmp_path}/shared/corpus", "experiment=debug")
    finish(CORPUS, tmp_path, *shared, "seed=0")
    plan = settled([CORPUS, MASK], tmp_path, *shared, "seed=1")
    assert {name: config.seed for name, config in plan.configs.items()} == {"corpus": 0, "mask": 1}
    assert "shared between runs and keeps seed=0" in plan.notes[0]
    other = settled([CORPUS], tmp_path, *shared, "source.num_topics=3")
    with pytest.raises(UserError, match="lies outside this run"):
        announce([CORPUS], other, consent=False)


def test_changes_are_said_and_refused_where_they_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in PIPELINE[:4]:
        finish(stage, tmp_path, "name=r", "train.max_steps=5")

    def told(stage: Stage, *words: str, consent: bool = False) -> str:
        announce([stage], settled([stage], tmp_path, "name=r", *words), consent=consent)
        return capsys.readouterr().err

    assert told(TRAIN) == ""
    with pytest.raises(UserError, match=r"r/model, .*r/routing holds.*name=.*--yes"):
        told(TRAIN, "train.learning_rate=1")
    assert "train.learning_rate 0.002 → 1" in capsys.readouterr().err
    assert "learning_rate" in told(TRAIN, "train.learning_rate=1", consent=True)
    with pytest.raises(UserError, match="model"):
        told(CORPUS, "corpus.clean.min_chars=3")  # the model was trained on that corpus
    with pytest.raises(UserError, match="model"):
        told(TRAIN, "train.max_steps=4")
    assert "goes on from where it was" in told(TRAIN, "train.max_steps=9", "train.log_every=1")
    finish(CORPUS, tmp_path, "name=alone")
    alone = settled([CORPUS], tmp_path, "name=alone", "corpus.clean.min_chars=3")
    announce([CORPUS], alone, consent=False)  # nothing rests on it yet


@pytest.mark.parametrize(("answer", "goes_on"), [("yes", True), ("no", False), ("", False)])
def test_on_a_terminal_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool
) -> None:
    finish(TRAIN, tmp_path, "name=r")
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: answer)
    plan = settled([TRAIN], tmp_path, "name=r", "train.learning_rate=1")
    if goes_on:
        announce([TRAIN], plan, consent=False)
    else:
        with pytest.raises(UserError, match="nothing was changed"):
            announce([TRAIN], plan, consent=False)


def test_training_goes_on_through_growth_and_what_only_watches() -> None:
    before = {"train": {"batch_size": 8, "gradient_accumulation": 3}}

    def goes_on(**changes: tuple[Any, Any]) -> bool:
        return trains_on({f"train.{name}": change for name, change in changes.items()}, before)

    assert goes_on(max_steps=(5, 9))
    assert not goes_on(max_steps=(9, 5))
    assert not goes_on(max_steps=(None, 5))
    assert goes_on(log_every=(5, 1), max_steps=(5, 9))
    assert not goes_on(learning_rate=(1, 2))
    assert not goes_on(log_every=(5, 1), learning_rate=(1, 2))
    assert not trains_on({"seed": (0, 1)}, before)
    assert goes_on(batch_size=(8, 4), gradient_accumulation=(3, 6))  # the same global batch
    assert not goes_on(batch_size=(8, 4))
    assert not goes_on(gradient_accumulation=(3, 6))


def test_a_section_without_a_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="source=null: needs a preset"):
        settings(TRAIN, tmp_path, "source=null")


def test_a_values_list_without_m_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seed.*-m|needs? -m"):
        settings(TRAIN, tmp_path, "train.learning_rate=1,2")


@pytest.mark.parametrize("name", ["posts (1).csv", "[b] :car: x", 'a"b(', "a\\b{", "a{\\"])
def test_a_value_that_cannot_be_read_is_named_with_what_helps(name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read; .* two pairs of quotes: ") as refused:
        parse([f"source.path={name}"])
    advised = str(refused.value).partition("quotes: ")[2]
    assert parse(shlex.split(advised))[0].value() == name
    with pytest.raises(UserError, match="mine: settings are typed as KEY=VALUE"):
        parse(["mine"])


def test_flags_are_understood_in_every_spelling() -> None:
    for words in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"]):
        assert divide(["name=a", *words, "-m"]) == (["--cfg", "job", "-m"], ["name=a"])
    assert divide(["--config-dir=x"]) == divide(["-cd", "x"])


def test_advised_commands_name_the_run(tmp_path: Path) -> None:
    text = "x: no corpus; run `moescope corpus` first"
    for words, expected in (
        (["name=mine", "force=true", "seed=3"], "`moescope corpus name=mine`"),
        (["paths.runs=a b"], "`moescope corpus name=default 'paths.runs=a b'`"),
        (["force=true"], "`moescope corpus`"),
    ):
        name = words[0].removeprefix("name=") if words[0].startswith("name=") else "default"
        assert expected in _of_this_run(text, name, take_apart(parse(words)))


def test_the_real_command_line_remembers(command: Command, tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    rows = [{"body": f"{t} {n} some words to read", "tag": t} for t in "ab" for n in range(40)]
    posts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = (f"paths.runs={tmp_path}", "name=r")
    own = (f"source.path={posts}", "source.text_column=body", "source.topic_column=tag")
    clean = ("corpus.clean.min_chars=5", "corpus.clean.near_duplicates=false")
    done = command("corpus", "source=files", *own, *clean, *place)
    assert done.returncode == 0, done.stderr
    again = command("corpus", *place)
    assert "up to date" in again.stderr, again.stderr
    shown = command("corpus", *place, "source.encoding=ascii", "--cfg", "job")
    assert re.search(r"path: .*posts\.jsonl", shown.stdout)
    assert "encoding: ascii" in shown.stdout
    before = hash_folder(tmp_path)
    refused = command("rerun", "rr", f"paths.runs={tmp_path}")
    assert refused.returncode == 2
    assert "no run 'rr'" in refused.stderr
    assert "did you mean 'r'" in refused.stderr
    refused = command("mask", *place, "dataset.sequence_length=9999")
    assert refused.returncode == 2
    assert hash_folder(tmp_path) == before


def test_rerun_takes_a_finished_run_as_it_is(command: Command, debug_run: Path) -> None:
    before = hash_folder(debug_run)
    for name in (str(debug_run), "debug"):
        done = command("rerun", name, f"paths.runs={debug_run.parent}")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("up to date") == 5, done.stderr
    assert hash_folder(debug_run) == before
    assert find_run("debug", debug_run.parent) == debug_run
    assert "no run" in command("rerun", str(ROOT)).stderr


def test_every_stage_of_a_run_has_its_place() -> None:
    paths = load_config(compose("moescope", ["name=x"])).paths
    for name, home in LAYOUT.items():
        assert getattr(paths, name) == paths.run / home
    assert {stage.output for stage in STAGES.values()} <= {*LAYOUT, "comparison"}
