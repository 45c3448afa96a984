"""Records a split in one process or in several, and resumes a pass that was interrupted."""

import pyarrow as pa

from ...configs.progress import console
from ..store.writer import StoreWriter
from .processes import Shard
from .recorder import RoutingRecorder
from .recording import Recording
from .resume import SavedPass, in_order


def record_shard(recording: Recording, saved: SavedPass, shard: Shard) -> None:
    """Records one process' shard of the chunks and saves it beside `saved`, for `merge_shards`."""
    own, recorder = saved.part(shard.name), recording.new_recorder()
    done = own.load()
    if done is not None:
        done.restore(recorder)

    def save(number: int, documents: pa.Table) -> None:
        own.chunk_done(number, documents, recorder)

    after = done.chunks if done else 0
    own.save(recording.run_chunks(recorder, save, after=after, shard=shard), recorder)


def record_alone(recording: Recording, saved: SavedPass, writer: StoreWriter) -> RoutingRecorder:
    """Records the whole split in this process, resuming an interrupted pass."""
    recorder, done = recording.new_recorder(), saved.load()
    if done is not None:
        done.restore(recorder)
        for batch in done.documents:
            writer.append(pa.Table.from_batches([batch]))
        console.print(f"route: going on after {done.num_tokens:,} tokens ({saved.folder})")

    def write(number: int, documents: pa.Table) -> None:
        writer.append(documents)
        saved.chunk_done(number, documents, recorder)

    recording.run_chunks(recorder, write, after=done.chunks if done else 0)
    return recorder


def merge_shards(
    recording: Recording, saved: SavedPass, writer: StoreWriter, count: int
) -> RoutingRecorder:
    """Adds `count` recorded shards up and writes their documents in the order of a single pass."""
    recorder, batches = recording.new_recorder(), []
    for rank in range(count):
        recorded = saved.part(Shard(rank, count).name).load()
        assert recorded is not None, f"shard {rank} is not complete"
        recorded.restore(recorder)
        batches += recorded.documents
    for batch in in_order(batches):
        writer.append(pa.Table.from_batches([batch]))
    return recorder
