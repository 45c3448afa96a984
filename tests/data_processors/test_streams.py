"""A stream that breaks off, is killed or damaged gives the documents of one that did not."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pytest

from moescope.data_processors.documents import Document
from moescope.data_processors.sources import streams
from moescope.data_processors.sources.streams import Stream

SHARDS, ROWS = 3, 20


class BrokenOffError(Exception):
    """What a client raises when the network goes."""


class Network:
    """Counts the rows that are sent; breaks off where it is told to."""

    sent: ClassVar[Counter[str]] = Counter()
    breaks: ClassVar[int | None] = None


def rows_of(shards: list[int]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        for row in range(ROWS):
            name = f"{shard}-{row}"
            if Network.breaks is not None and sum(Network.sent.values()) >= Network.breaks:
                raise BrokenOffError(name)
            Network.sent[name] += 1
            yield {"text": f"text {name}", "name": name}


@pytest.fixture(params=["generator", "parquet"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> datasets.IterableDataset:
    """The same rows from Python, and as files are streamed."""
    Network.sent, Network.breaks = Counter(), None
    made = datasets.IterableDataset.from_generator(
        rows_of, gen_kwargs={"shards": list(range(SHARDS))}
    )
    if request.param == "generator":
        return made
    (tmp_path / "set").mkdir()
    for shard in range(SHARDS):
        table = datasets.Dataset.from_list(list(rows_of([shard])))
        table.to_parquet(tmp_path / "set" / f"train-{shard}.parquet", batch_size=7)
    return datasets.load_dataset(str(tmp_path / "set"), split="train", streaming=True)


def convert(row: dict[str, Any], place: str) -> Document | None:
    if row["name"].endswith("-7"):  # of another topic
        return None
    return Document(place, row["text"], "topic", None, "set", place)


def take(
    dataset: datasets.IterableDataset,
    folder: Path,
    count: int | None = None,
    *,
    buffer: int = 6,
    seed: int = 0,
) -> list[str]:
    stream = Stream(dataset, convert, folder, buffer=buffer, seed=seed).documents()
    texts = []
    for document in stream:
        texts.append(document.text)
        if len(texts) == count:
            break
    stream.close()  # type: ignore[attr-defined]
    return texts


@pytest.mark.parametrize("buffer", [0, 6, 1000])
def test_every_row_comes_once_and_shuffled(
    dataset: datasets.IterableDataset, tmp_path: Path, buffer: int
) -> None:
    texts = take(dataset, tmp_path / "a", buffer=buffer)
    names = [f"{s}-{r}" for s in range(SHARDS) for r in range(ROWS) if r != 7]
    assert sorted(texts) == sorted(f"text {name}" for name in names)
    assert (texts == [f"text {name}" for name in names]) == (buffer == 0)
    assert texts == take(dataset, tmp_path / "b", buffer=buffer)
    if buffer:
        assert texts != take(dataset, tmp_path / "c", buffer=buffer, seed=1)


@pytest.mark.parametrize("buffer", [0, 6])
@pytest.mark.parametrize("part", [4, 1000])
def test_it_goes_on_where_it_was(
    dataset: datasets.IterableDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: int,
    buffer: int,
) -> None:
    monkeypatch.setattr(streams, "PART_DOCUMENTS", part)
    whole = take(dataset, tmp_path / "whole", buffer=buffer)
    for count in (1, 10, 11, 30, 50):  # each command wants more
        assert take(dataset, tmp_path / "cut", count, buffer=buffer) == whole[:count]
    assert take(dataset, tmp_path / "cut", buffer=buffer) == whole


def test_a_stream_that_breaks_off_reads_no_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Network, "breaks", None)
    monkeypatch.setattr(Network, "sent", Counter())
    dataset = datasets.IterableDataset.from_generator(
        rows_of, gen_kwargs={"shards": list(range(SHARDS))}
    )
    whole = take(dataset, tmp_path / "whole")
    for breaks in (0, 1, 9, 25, 47):
        Network.sent, Network.breaks = Counter(), breaks
        folder = tmp_path / f"broken-{breaks}"
        with pytest.raises(BrokenOffError):
            take(dataset, folder)
        Network.breaks = None
        capsys.readouterr()
        assert take(dataset, folder) == whole
        printed = capsys.readouterr().err.replace("\n", " ")
        assert ("the stream goes on from row" in printed) == (breaks > 0)


@pytest.mark.parametrize("name", ["state.json", "buffer.parquet", "part-00000.parquet"])
def test_what_is_damaged_is_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setattr(streams, "PART_DOCUMENTS", 4)
    dataset = datasets.IterableDataset.from_generator(
        rows_of, gen_kwargs={"shards": list(range(SHARDS))}
    )
    whole = take(dataset, tmp_path / "whole")
    take(dataset, tmp_path / "cut", 10)
    (path,) = (tmp_path / "cut").rglob(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert take(dataset, tmp_path / "cut") == whole
    assert "damaged" in capsys.readouterr().err
