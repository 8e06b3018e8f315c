"""Kept batches: what a shard has so far, on disk, so that an interruption loses one batch at most.

A batch is named by its samples, so another division into batches finds those of its own. Nodes are made and written
while the model goes on with the next batch. The last batch stays in memory: it goes into the shard at once.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from attention_atlas import seals, store
from attention_atlas.attention.nodes import Item
from attention_atlas.errors import AtlasError
from attention_atlas.files import write_text
from attention_atlas.inputs.views import view_of
from attention_atlas.provenance import text_sha256

logger = logging.getLogger(__name__)
Nodes = Mapping[str, xr.Dataset]


# Bytes of finished batches that stay in memory until the shard is written; what is more is read back from disk.
MOST_IN_MEMORY = 2**28


class KeptBatches:
    """The batches of one shard, in the order in which they were added: each in memory, or as its file."""

    def __init__(self, folder: Path, writer: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.writer = writer
        self.parts: list[Nodes | Path] = []
        self.bytes_in_memory = 0
        self.writing: Future[Nodes] | None = None

    def found(self, batch: Sequence[Item]) -> bool:
        """Whether an earlier run left this batch, which is then added."""
        path = self.path_of(batch)
        if not is_whole(path):
            return False
        self.wait()
        self.parts.append(path)
        return True

    def add(self, batch: Sequence[Item], make: Callable[[], Nodes], last: bool) -> None:
        """Add a batch whose nodes are made and written beside what the caller does next, one batch at a time.

        The last one goes into the shard at once.
        """
        self.wait()
        path = self.path_of(batch)

        def write() -> Nodes:
            nodes = make()
            if not last:
                store.write_shard(path, nodes)
            return nodes

        self.parts.append(path)
        self.writing = self.writer.submit(write)

    def wait(self) -> None:
        """Until all that was added is on disk; raises what went wrong there."""
        if self.writing is None:
            return
        nodes, self.writing = self.writing.result(), None
        size = sum(node.nbytes for node in nodes.values())
        if not self.path_is_there() or self.bytes_in_memory + size <= MOST_IN_MEMORY:
            self.parts[-1] = nodes
            self.bytes_in_memory += size

    def path_is_there(self) -> bool:
        """Whether the batch added last is on disk."""
        return isinstance(self.parts[-1], Path) and self.parts[-1].exists()

    def path_of(self, batch: Sequence[Item]) -> Path:
        """The file of a batch."""
        return self.folder / f"{text_sha256([item.row['sample_id'] for item in batch])[:24]}.nc"

    def batch_size(self, choose: Callable[[], int]) -> int:
        """The size that an earlier run chose, else a new choice, which is kept.

        Half of it where that run left no batch: it may have been ended for its memory.
        """
        kept = self.folder / "batch_size"
        earlier = number_in(kept)
        if earlier is not None and any(self.folder.glob("*.nc")):
            return earlier
        size = choose() if earlier is None else max(1, min(choose(), earlier // 2))
        write_text(kept, str(size))
        return size

    def write_shard(self, output: Path, items: Sequence[Item], keep_bits: int | None) -> None:
        """All batches as one shard, samples in the order of `items`; one of failures alone is the model's error.

        Weights are rounded to `keep_bits`, where that is given.
        """
        self.wait()
        with opened(self.parts) as parts:
            names = sorted({name for part in parts for name in part})
            joined = {name: store.joined([part[name] for part in parts if name in part]) for name in names}
            nodes = {name: in_order(node, items) for name, node in joined.items()}
            tell_failures(nodes)
            store.write_shard(output, nodes, keep_bits)


def is_whole(path: Path) -> bool:
    """Whether an earlier run left a batch as it wrote it; another one is removed, to be made again."""
    if not path.exists():
        return False
    try:
        whole = seals.is_whole(path)
    except OSError:
        whole = False
    if not whole:
        logger.warning("%s, a batch of an earlier run, is damaged; it is removed and made again", path)
        path.unlink()
    return whole


def number_in(path: Path) -> int | None:
    """The positive number that a file holds; None where there is none."""
    try:
        return max(1, int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


@contextmanager
def opened(parts: Sequence[Nodes | Path]) -> Iterator[list[Nodes]]:
    """The nodes of each part; large variables of those on disk stay there until they are wanted."""
    with ExitStack() as files:
        yield [
            store.lazy_nodes(part, files)
            if isinstance(part, Path)
            else {name: store.with_large_ones_lazy(node) for name, node in part.items()}
            for part in parts
        ]


def in_order(node: xr.Dataset, items: Sequence[Item]) -> xr.Dataset:
    """A node with its samples in the order of the table."""
    numbers = range(1, 1 + max(len(item.pictures) for item in items))
    wanted = [view_of(item.row["sample_id"], item.row["condition"], number) for item in items for number in numbers]
    there = node.indexes["sample"]
    order = [name for name in wanted if name in there]
    return node if order == list(there) else node.sel(sample=order)


def tell_failures(nodes: Nodes) -> None:
    """Say how many samples failed; refuse a shard in which all did."""
    errors = np.concatenate([node["error"].values for node in nodes.values()])
    if (errors != "").all():
        raise AtlasError(f"every sample of the shard failed; the first: {errors[0]}")
    if (errors != "").any():
        logger.warning("%d of %d samples failed; their reasons are in `error`", (errors != "").sum(), len(errors))


@contextmanager
def keeping(folder: Path) -> Iterator[KeptBatches]:
    """The kept batches of one shard; what is still being written is finished at the end of the block."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer:
        yield KeptBatches(folder, writer)
