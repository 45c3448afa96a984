"""The table of sources. To add one, write a file here, a schema class and a line below."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ..documents import Document, Wanted
from .files import fingerprint_files, read_files
from .hub import fingerprint_hub, read_hub
from .newsgroups import read_newsgroups
from .pydocs import fingerprint_pydocs, read_pydocs
from .sotu import fingerprint_sotu, read_sotu
from .synthetic import read_synthetic


@dataclass(frozen=True)
class SourceReader:
    """How one kind of source is read.

    Attributes:
        read: (source config, wanted, random generator) → documents, streamed in a fixed order.
        fingerprint: what decides the texts besides the config (versions, file hashes); checks
            cheaply that the source is there.
    """

    read: Callable[[Any, Wanted, np.random.Generator], Iterator[Document]]
    fingerprint: Callable[[Any], Mapping[str, str]]


SOURCES: dict[str, SourceReader] = {
    "files": SourceReader(lambda source, wanted, _: read_files(source, wanted), fingerprint_files),
    "hub": SourceReader(
        lambda source, wanted, drawing: read_hub(source, wanted, int(drawing.integers(2**31))),
        fingerprint_hub,
    ),
    "newsgroups": SourceReader(
        lambda source, wanted, _: read_newsgroups(source, wanted),
        lambda _: {"package scikit-learn": version("scikit-learn")},
    ),
    "pydocs": SourceReader(
        lambda source, wanted, _: read_pydocs(source, wanted), fingerprint_pydocs
    ),
    "sotu": SourceReader(lambda source, wanted, _: read_sotu(source, wanted), fingerprint_sotu),
    "synthetic": SourceReader(read_synthetic, lambda _: {}),
}
