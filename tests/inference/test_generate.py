"""`moescope generate` as it is typed: prompts, settings, mistakes, what reaches the terminal."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from moescope.command_line import main
from tests.conftest import Command

from .prompted import CONTEXT, YEARS, save_decoder, save_encoder

ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
GREEDY = ("temperature=0", "max_new_tokens=6")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `plain`, `dense`, `years` (decoders) and `encoder`, each with its model."""
    folder = tmp_path_factory.mktemp("runs")
    save_decoder(folder / "plain" / "model")
    save_decoder(folder / "dense" / "model", num_experts=0, first_k_dense=0)
    save_decoder(folder / "years" / "model", router={"name": "masked", **YEARS})
    save_encoder(folder / "encoder" / "model")
    return folder


@pytest.fixture
def generate(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["generate", f"paths.runs={runs}", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    "prompt",
    [
        "The state, [seen] = {so} far",
        "it's: {so}, [old] ${now} \\ seen=so (far) ",
        "'[a', \"b",
        "-a union",
    ],
)
def test_a_prompt_is_taken_as_typed(generate: Any, tmp_path: Path, prompt: str) -> None:
    path = tmp_path / "a.jsonl"
    code, out, err = generate("name=plain", prompt, *GREEDY, "show=text", "--json", str(path))
    assert code == 0, err
    assert out.startswith(prompt)
    assert json.loads(path.read_text())["prompt"] == prompt


def test_behind_two_dashes_even_a_setting_is_text(generate: Any) -> None:
    code, out, err = generate("name=plain", *GREEDY, "show=text", "--", "temperature=9")
    assert code == 0, err
    assert out.startswith("temperature=9")


def test_a_file_and_standard_input_serve_as_well(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("The union, [seen]\n")
    arguments = ("name=plain", *GREEDY, "show=text")
    _, argument, _ = generate(*arguments, "The union, [seen]")
    _, from_file, _ = generate(*arguments, "--file", str(path))
    _, from_stdin, _ = generate(*arguments, stdin=b"The union, [seen]\n")
    assert argument == from_file == from_stdin
    assert argument.startswith("The union, [seen]")


def test_the_same_seed_gives_the_same_answer_whoever_else_answers(generate: Any) -> None:
    arguments = ("The old union", "max_new_tokens=12", "show=text")
    _, alone, _ = generate("name=plain", *arguments)
    _, again, _ = generate("name=plain", *arguments)
    _, other, _ = generate("name=plain", "seed=7", *arguments)
    assert alone == again != other
    code, both, _ = generate("models=[dense,plain]", *arguments)
    assert code == 0
    heads = [line for line in both.splitlines() if line.startswith("── ")]
    assert len(heads) == 2
    assert "dense" in heads[0]
    assert both.endswith(alone)


def test_json_holds_what_is_shown_for_all_layers(generate: Any, runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.jsonl"
    arguments = ("The union", "models=years", "models=dense", "year=1849", "seed=3")
    code, out, err = generate(*arguments, "max_new_tokens=5", "layer=1", "--json", str(path))
    assert code == 0, err
    (line,) = path.read_text().splitlines()
    record = json.loads(line)
    assert record["seed"] == 3
    masked, dense = record["answers"]
    asked = {"column": "year", "label": "1849", "value_id": 0, "value": "1800–1849"}
    assert masked["metadata"] == asked
    assert "year=1849 (1800–1849)" in out
    assert masked["layers"] == [1, 2]
    assert dense["layers"] == []
    assert dense["metadata"] is None
    shown = re.findall(r"^'.*' +[ +](\d.*)$", out, re.MULTILINE)
    assert len(shown) == len(masked["tokens"])
    for row, token in zip(shown, masked["tokens"], strict=True):
        ran = zip(token["experts"][0], token["weights"][0], strict=True)
        assert row == "  ".join(f"{expert} ({weight:.2f})" for expert, weight in ran)
        assert set(token["experts"][0]) <= {0, 1}
    assert "".join(token["text"] for token in masked["tokens"]) == masked["text"]
    assert sum(not token["is_prompt"] for token in masked["tokens"]) <= 5


def test_an_encoder_fills_in(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code, out, err = generate(
        "name=encoder", "The [MASK] of the [MASK]?", "candidates=3", f"generate.json_path={path}"
    )
    assert code == 0, err
    assert "The [MASK] of the [MASK]?" in out
    (answer,) = json.loads(path.read_text())["answers"]
    assert answer["kind"] == "fill-mask"
    assert [len(offered) for offered in answer["candidates"]] == [3, 3]
    assert len(re.findall(r"^mask \d: .* %$", out, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("models=years", "year=1700", "a"), ["year=1700", "1800 to 1949", "years"]),
        (("models=years", "year=2001", "a"), ["year=2001", "1800 to 1949"]),
        (("models=years", "year=old", "a"), ["year=old", "1800 to 1949"]),
        (("models=plain", "year=1850", "a"), ["year", "no model here has a masked router"]),
        (("models=plain", "label=1850", "a"), ["label=1850", "no model here has a masked router"]),
        (("models=years", "yaer=1850", "a"), ["yaer", "did you mean 'year'", "reads year"]),
        (("models=plain", "temprature=1", "a"), ["temprature", "did you mean 'temperature'"]),
        (("generate.temprature=1", "a"), ["did you mean 'generate.temperature'"]),
        (("temperature=-1", "a"), ["temperature=-1", "greater than or equal to 0"]),
        (("top_p=warm", "a"), ["top_p=warm", "number"]),
        (("seed=x", "a"), ["seed=x", "integer"]),
        (("show=color", "a"), ["show=color", "'colours'"]),
        (("models=[plain", "a"), ["models=[plain", "not a list"]),
        (("models=plain", "layer=0", "a"), ["layer=0", "layers 1, 2 only"]),
        (("models=plain", "x" * 60), ["61 tokens", f"at most {CONTEXT}", "shorten"]),
        (("models=plain", "  \n"), ["prompt", "empty"]),
        (("models=plain", "the [MASK]"), ["[MASK]", "plain/model is a decoder"]),
        (("models=encoder", "the union"), ["encoder/model is an encoder", "[MASK]"]),
        (("models=[plain,encoder]", "the union"), ["encoder/model is an encoder"]),
        (("models=plian", "a"), ["'plian'", "did you mean 'plain'"]),
        (("name=never", "a"), ["never/model", "moescope train"]),
        (("models=no/such/folder", "a"), ["no/such/folder", "no such folder"]),
        (("models=plain", "two", "prompts"), ["given 2 times", "quote"]),
        (("models=plain", "--jsn", "x", "a"), ["--jsn", "did you mean '--json'"]),
        (("models=plain", "--file", "/no/such.txt"), ["/no/such.txt", "No such file"]),
    ],
)
def test_a_mistake_is_one_clear_line(
    generate: Any, arguments: tuple[str, ...], words: list[str]
) -> None:
    code, out, err = generate(*arguments)
    assert code == 2, (code, out, err)
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    for word in ("moescope: ", *words):
        assert word in lines[0], lines[0]


def test_a_run_of_a_sweep_is_found_by_its_name(generate: Any, runs: Path) -> None:
    name = "gptime,moe_routing=none"
    if not (runs / name).exists():
        (runs / name).symlink_to(runs / "plain")
    _, expected, _ = generate("name=plain", *GREEDY, "show=text", "The union")
    for asked in (f"name={name}", f"models={name}", f"models=['{name}']"):
        code, out, err = generate(asked, *GREEDY, "show=text", "The union")
        assert (code, out) == (0, expected), err


def test_a_place_that_cannot_be_written_is_one_line(generate: Any, runs: Path) -> None:
    path = runs / "plain" / "model" / "config.json" / "a.jsonl"
    code, _, err = generate("name=plain", *GREEDY, "The union", "--json", str(path))
    assert code == 2
    assert "config.json" in err
    assert len(err.splitlines()) == 1


def test_a_mistake_leaves_an_earlier_answer_alone(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert generate("name=plain", *GREEDY, "The union", "--json", str(path))[0] == 0
    before = path.read_bytes()
    assert generate("name=plain", *GREEDY, "[MASK]", "--json", str(path))[0] == 2
    assert path.read_bytes() == before


def test_the_real_command_refuses_and_explains(command: Command, runs: Path) -> None:
    done = command("generate", f"paths.runs={runs}", "models=encoder", "the union")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "is an encoder" in done.stderr


def test_help_teaches(generate: Any) -> None:
    code, out, _ = generate("--help")
    assert code == 0
    for word in ("generate.temperature", "--interactive", "year=1850", "seed", "paths.runs"):
        assert word in out


def test_a_session_goes_on_after_mistakes(generate: Any, tmp_path: Path) -> None:
    lines = [
        "The union",
        ":temperature=cold",
        ":temperature=0",
        "far [MASK]",
        "",
        ":year=1700",
        ":year=1850",
        ":",
        "The union",
        ":what",
        ":models=plain",
        ":year=null",
        "The union",
        ":quit",
        "never read",
    ]
    path = tmp_path / "a.jsonl"
    code, _, told = generate(
        *("name=years", "--interactive", "max_new_tokens=4", "--json", str(path)),
        stdin="\n".join(lines).encode(),
    )
    assert code == 0, told
    for words in (
        "temperature=cold",
        "is a decoder",
        "empty",
        "year=1700",
        ":what: not a command",
        "models: is fixed",
    ):
        assert words in told
    assert "temperature=0.0" in told
    assert "year=1850" in told
    first, last, unasked = map(json.loads, path.read_text().splitlines())
    assert unasked["answers"][0]["metadata"]["label"] is None
    assert first["settings"]["temperature"] == 0.8
    assert last["settings"]["temperature"] == 0
    assert last["answers"][0]["metadata"]["label"] == "1850"


HOSTILE = "The \x1b[31mred\x07 \x9b2J \u202eunion\u2066"


@pytest.mark.parametrize("show", ["table", "text", "colours"])
def test_no_control_sequence_of_a_prompt_or_a_vocabulary_is_printed(
    generate: Any, show: str
) -> None:
    code, out, err = generate(
        "name=plain", "max_new_tokens=20", f"show={show}", stdin=HOSTILE.encode()
    )
    assert code == 0, err
    assert not ESCAPES.search(out), repr(out)
    assert "␛" in out


@pytest.mark.parametrize("mistake", ["\x1b[2J", "models=\x1b[2J", "year=\x1b[2J", "layer=\x1b[2J"])
def test_nor_of_a_mistake(generate: Any, mistake: str) -> None:
    code, out, err = generate("name=years", mistake, "--file", "/no/\x1b[3J")
    assert code == 2
    assert not ESCAPES.search(out + err), repr(err)


def test_colours_are_the_only_sequences_on_a_terminal(command: Command, runs: Path) -> None:
    prompt = HOSTILE.replace("\x9b", "")
    arguments = ("generate", f"paths.runs={runs}", "name=plain", prompt, "max_new_tokens=5")
    done = command(*arguments, FORCE_COLOR="1", COLORTERM="truecolor", TERM="xterm-256color")
    assert done.returncode == 0, done.stderr
    assert "first expert of each token" in done.stdout
    styled = re.compile(r"\x1b\[[0-9;]*m")
    assert styled.search(done.stdout)
    assert not ESCAPES.search(styled.sub("", done.stdout)), repr(done.stdout)
    assert "\x1b[31m" not in done.stdout


def test_several_models_stand_side_by_side_on_a_wide_terminal(
    generate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    code, out, err = generate("models=[plain,dense]", *GREEDY, "The union")
    assert code == 0, err
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    beside = [line for line in plain.splitlines() if line.count("The union") == 2]
    assert beside, plain
    assert "layer 2" in plain
    monkeypatch.setenv("COLUMNS", "60")
    assert generate("models=[plain,dense]", *GREEDY, "The union")[1].count("── ") == 2
