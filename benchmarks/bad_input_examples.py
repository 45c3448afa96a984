"""What hypothesis makes up for benchmarks/bad_inputs.py: files for readers, values for settings.

A property takes drawn bytes or words and returns nothing; what it lets through is a `UserError` of
one line, and whatever Hydra says of a word that is no override.
"""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moescope.analysis.data.audit import read_audit
from moescope.analysis.data.curves import read_training_curves
from moescope.configs.errors import UserError
from moescope.configs.load import load_config, walk
from moescope.configs.manifest import read_manifest
from moescope.configs.memory import parse, settle
from moescope.configs.ownership import is_json_lines
from moescope.configs.schema import Config
from moescope.configs.schema_corpus import FilesSource
from moescope.configs.stages import STAGES
from moescope.configs.typed import take_apart
from moescope.data_processors.sources.files import read_files
from moescope.data_processors.topics import TopicRules
from moescope.inference.experiments.senses import read_senses
from moescope.inference.store.reader import RoutingStore

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["text", "topic", "token", "sense", "step", "split"]), JSON)
)
PIECES = st.lists(
    st.sampled_from([b"text,topic\n", b'"', b",", b"\n", b"\0", b"{", b"[", b"PAR1", b"\xff", b"a"])
    | st.binary(max_size=12)
)
CONTENT = (
    PIECES.map(b"".join)
    | st.binary(max_size=200)
    | ROWS.map(lambda rows: "".join(_dumped(row) + "\n" for row in rows).encode())
    | JSON.map(lambda value: _dumped(value).encode())
)
KEYS = [key for key, _ in walk(Config)]
WORDS = st.lists(
    st.tuples(
        st.sampled_from([*KEYS, "source", "model", "router", "nosuch", "~seed", "+x"]), JSON
    ).map(lambda pair: f"{pair[0]}={pair[1]}")
    | st.text(string.printable, max_size=12),
    max_size=3,
)


def _dumped(value: Any) -> str:
    return json.dumps(value, default=str)


def source_file(place: Path, rules: TopicRules, ending: str, content: bytes) -> None:
    path = place / f"drawn.{ending}"
    path.write_bytes(content)
    names = dict.fromkeys(FilesSource.model_fields)
    source = FilesSource.model_validate(
        names
        | {"name": "files", "path": str(path), "format": "auto", "text_column": "text"}
        | {"topic_column": "topic", "paragraphs": 1, "encoding": "utf-8", "metadata_columns": []}
    )
    for _ in read_files(source, rules.wanted):
        pass


def other_file(place: Path, content: bytes) -> None:
    """The readers of what stages leave, each on the same bytes."""
    folder = place / "drawn"
    folder.mkdir(exist_ok=True)
    readers: dict[str, Callable[[Path], object]] = {
        "manifest.json": lambda path: read_manifest(path.parent),
        "audit.json": read_audit,
        "metrics.jsonl": read_training_curves,
        "senses.jsonl": read_senses,
        "senses.csv": read_senses,
        "store.json": lambda path: RoutingStore.open(path.parent),
        "answers.jsonl": lambda path: is_json_lines(path, "prompt"),
    }
    for name, read in readers.items():
        (folder / name).write_bytes(content)
        try:
            read(folder / name)
        except UserError as error:
            one_line(error)


def defaults(place: Path) -> Any:
    """Composes the config of a run that is not there."""
    with initialize_config_module("moescope.configs", version_base="1.3"):
        return compose("moescope", [f"paths.runs={place}/none"])


def command_words(tree: Any, words: list[str]) -> None:
    settle(tree, take_apart(parse(words)), [STAGES["train"]])


def setting(tree: Any, key: str, value: Any) -> None:
    changed = tree.copy()
    OmegaConf.set_struct(changed, False)
    OmegaConf.update(changed, key, value, force_add=True)
    load_config(changed)


def one_line(error: Exception) -> None:
    assert "\n" not in str(error).strip(), f"several lines: {error}"
    assert str(error).strip(), "no words"


def _files(place: Path) -> Any:
    endings = st.sampled_from(["jsonl", "csv", "tsv", "parquet", "txt"])
    rules = TopicRules(load_config(defaults(place)).corpus.topics)
    return given(endings, CONTENT)(lambda e, content: source_file(place, rules, e, content))


def _others(place: Path) -> Any:
    return given(CONTENT)(lambda content: other_file(place, content))


def _words(place: Path) -> Any:
    tree = defaults(place)
    return given(WORDS)(lambda words: command_words(tree, words))


def _settings(place: Path) -> Any:
    tree = defaults(place)
    return given(st.sampled_from(KEYS), JSON)(lambda key, value: setting(tree, key, value))


PROPERTIES = {
    "files of a source": _files,
    "files of stages": _others,
    "words of a command": _words,
    "values of settings": _settings,
}


def run_property(
    make: Callable[[Path], Any], examples: int, place: Path, number: int
) -> str | None:
    """Tries so many examples; returns what went wrong, None where nothing did."""
    check = make(place)
    inner = check.hypothesis.inner_test

    def refused(*drawn: Any, **named: Any) -> None:
        try:
            inner(*drawn, **named)
        except (UserError, HydraException, OmegaConfBaseException) as error:
            if isinstance(error, UserError):
                one_line(error)

    check.hypothesis.inner_test = refused
    quiet = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        seed(number)(quiet(check))()
    except Exception as error:
        notes = " ".join(getattr(error, "__notes__", []))
        return f"{type(error).__name__}: {error} {notes}"[:1500]
    return None
