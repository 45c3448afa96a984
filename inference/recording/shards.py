"""A pass with a spool beside it: alone, as one process' share, and all shares put together."""

import pyarrow as pa

from ...configs.progress import console
from ..store.writer import StoreWriter
from .processes import Share
from .recorder import RoutingRecorder
from .recording import Recording
from .resume import Spool, in_order


def record_share(recording: Recording, spool: Spool, share: Share) -> None:
    """Records one process' share of the chunks into a spool of its own below `spool`."""
    own, recorder = spool.part(share.name), recording.new_recorder()
    done = own.load()
    if done is not None:
        done.give(recorder)

    def save(number: int, documents: pa.Table) -> None:
        own.chunk_done(number, documents, recorder)

    after = done.chunks if done else 0
    own.save(recording.run_chunks(recorder, save, after=after, share=share), recorder)


def record_alone(recording: Recording, spool: Spool, writer: StoreWriter) -> RoutingRecorder:
    """Records the whole split, from where an unfinished pass was."""
    recorder, done = recording.new_recorder(), spool.load()
    if done is not None:
        done.give(recorder)
        for batch in done.documents:
            writer.append(pa.Table.from_batches([batch]))
        console.print(f"route: going on after {done.num_tokens:,} tokens ({spool.folder})")

    def write(number: int, documents: pa.Table) -> None:
        writer.append(documents)
        spool.chunk_done(number, documents, recorder)

    recording.run_chunks(recorder, write, after=done.chunks if done else 0)
    return recorder


def put_together(
    recording: Recording, spool: Spool, writer: StoreWriter, count: int
) -> RoutingRecorder:
    """Adds the shares up; the documents are written as one pass would write them."""
    recorder, batches = recording.new_recorder(), []
    for rank in range(count):
        recorded = spool.part(Share(rank, count).name).load()
        assert recorded is not None, f"share {rank} is not complete"
        recorded.give(recorder)
        batches += recorded.documents
    for batch in in_order(batches):
        writer.append(pa.Table.from_batches([batch]))
    return recorder
