"""Small texts and corpora for the tests of the mask stage."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moescope.configs.manifest import FILE_NAME, Manifest, hash_folder
from moescope.data_processors.documents import METADATA

TOPICS = ["birds", "trains"]
BIRD_WORDS = "feather nest warbler migrating wings beak flock singing eggs hatchling"
TRAIN_WORDS = "railway locomotive carriage station signalling track gauge timetable"
SHARED_WORDS = "the a of with which is under over, early; morning. evening unbelievably"
WORDS = {
    topic: f"{words} {SHARED_WORDS}".split(" ")
    for topic, words in zip(TOPICS, (BIRD_WORDS, TRAIN_WORDS), strict=True)
}


def make_texts(topic: str, count: int, seed: int, longest: int = 90) -> list[str]:
    """Draws texts of 3 to `longest` words, half of them the topic's."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(WORDS[topic], generator.integers(3, longest)))
        for _ in range(count)
    ]


def write_split(folder: Path, split: str, texts: list[tuple[str, str]]) -> None:
    """Writes (topic, text) pairs as a corpus split."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(texts)
    columns = {
        "id": pa.array([f"{split}-{number}" for number in range(count)], pa.string()),
        "text": pa.array([text for _, text in texts], pa.string()),
        "topic": pa.array([topic for topic, _ in texts], pa.string()),
        "date": pa.array([date(1990, 1, 1)] * count, pa.date32()),
        "source": pa.array(["test"] * count, pa.string()),
        "group": pa.array([f"{split}-{number}" for number in range(count)], pa.string()),
        "metadata": pa.array([[("age", "old")]] * count, METADATA),
    }
    pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")


def write_manifest(folder: Path, topics: list[str] | None = None) -> None:
    """Ends a corpus folder as the corpus stage would."""
    manifest = Manifest(
        stage="corpus",
        config={},
        config_hash="",
        inputs={},
        fingerprint="corpus",
        files={n: h for n, h in hash_folder(folder).items() if n != FILE_NAME},
        seed=0,
        versions={},
        counts={} if topics is None else {"topics": topics},
        started_at="",
        elapsed_s=0.0,
        command="",
    )
    (folder / FILE_NAME).write_text(manifest.sealed().model_dump_json(), encoding="utf-8")


def write_corpus(folder: Path, train: int = 120, held_out: int = 20) -> None:
    """Writes a whole corpus: two topics, documents alternating, no test split."""
    for seed, (split, count) in enumerate(
        {"train": train, "validation": held_out, "test": 0, "probe": held_out}.items()
    ):
        drawn = {topic: make_texts(topic, count, seed) for topic in TOPICS}
        pairs = [(topic, drawn[topic][number]) for number in range(count) for topic in TOPICS]
        write_split(folder, split, pairs)
    write_manifest(folder, TOPICS)
