"""The one table of sources; adding one is a file here, a schema class and a line below."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_processors.documents import Document, Wanted

from .pydocs import fingerprint_pydocs, read_pydocs
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
    "pydocs": SourceReader(lambda s, wanted, _: read_pydocs(s, wanted), fingerprint_pydocs),
    "synthetic": SourceReader(read_synthetic, lambda _: {}),
}
