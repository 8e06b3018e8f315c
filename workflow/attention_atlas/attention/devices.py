"""GPUs for one process alone: claimed by file locks, so that no two jobs of a user share a device of a machine."""

import fcntl
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path

import torch

from attention_atlas.errors import AtlasError

logger = logging.getLogger(__name__)
LONGEST_WAIT_S = 24 * 3600.0  # longer than a shard takes; a device that is never given back must not hang a night's run
POLL_S = 1.0
REMIND_S = 300.0
AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB
_UNTIL_EXIT = ExitStack()


@cache
def devices_of_process(count: int) -> tuple[torch.device, ...]:
    """`count` CUDA devices for the rest of this process, the same at every call; see `claimed`."""
    return _UNTIL_EXIT.enter_context(claimed(count))


@contextmanager
def claimed(count: int, longest_wait_s: float = LONGEST_WAIT_S) -> Iterator[tuple[torch.device, ...]]:
    """`count` CUDA devices that no other process claims meanwhile, those of lowest index first.

    Waits while fewer are free, holding none. The locks vanish with the process, however it ends; a forked child that
    lives on keeps them. They are by UUID, so processes with different CUDA_VISIBLE_DEVICES mean the same device; under
    a scheduler that gives each job devices of its own the claim succeeds at once. Raises AtlasError where the process
    sees fewer devices than that, or where they are still taken after `longest_wait_s` seconds, naming who holds them.
    """
    uuids = visible_uuids()
    if count > len(uuids):
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise AtlasError(
            f"{count} GPU(s) asked for, {len(uuids)} visible (CUDA_VISIBLE_DEVICES: {seen}). Lower `gpus` of the model "
            "in config/models.yaml, set its `device` to cpu, or run where there are more"
        )
    with ExitStack() as locks:
        yield tuple(torch.device("cuda", index) for index in _wait_for(count, uuids, locks, longest_wait_s))


def visible_uuids() -> list[str]:
    """The UUIDs of the CUDA devices that this process sees, by index."""
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]


def lock_folder() -> Path:
    """The folder of the locks, made where it is missing: the user's own, on this machine."""
    folder = Path(tempfile.gettempdir(), f"attention-atlas-{os.getuid()}", "devices")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _wait_for(count: int, uuids: Sequence[str], locks: ExitStack, longest_wait_s: float) -> list[int]:
    """Indices of devices, their locks handed to `locks`, as soon as `count` are free."""
    folder, start, remind = lock_folder(), time.monotonic(), 0.0
    while True:
        taken = _take(count, uuids, folder, locks)
        if taken is not None:
            return taken
        waited = time.monotonic() - start
        if waited >= longest_wait_s:
            raise AtlasError(
                f"{count} GPU(s) asked for, fewer are free after {waited:.0f} s of waiting: {_holders(uuids, folder)}. "
                "End what holds them, or start fewer jobs at once with `--resources gpu=<GPUs of this machine>`"
            )
        if waited >= remind:
            logger.info("waiting for %d GPU(s): %s", count, _holders(uuids, folder))
            remind = waited + REMIND_S
        time.sleep(POLL_S)


def _take(count: int, uuids: Sequence[str], folder: Path, locks: ExitStack) -> list[int] | None:
    """Indices of the first `count` free devices, locked; None, with nothing locked, where fewer are free."""
    with ExitStack() as attempt, ExitStack() as turn:
        _lock(folder / "turn", turn, fcntl.LOCK_EX)  # one process chooses at a time, or two could take half each
        free = (index for index, uuid in enumerate(uuids) if _lock(folder / uuid, attempt, AT_ONCE))
        taken = list(islice(free, count))
        if len(taken) < count:
            return None
        for index in taken:
            (folder / f"{uuids[index]}.holder").write_text(f"process {os.getpid()} ({' '.join(sys.argv[:4])})")
        locks.push(attempt.pop_all())
        return taken


def _lock(path: Path, owner: ExitStack, operation: int) -> bool:
    """Lock a file until `owner` closes it; False where another process has it and `operation` does not wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    owner.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    return True


def _holders(uuids: Sequence[str], folder: Path) -> str:
    """Who has which of the devices, as text."""
    with ExitStack() as probe:
        _lock(folder / "turn", probe, fcntl.LOCK_EX)
        taken = [uuid for uuid in uuids if not _lock(folder / uuid, probe, AT_ONCE)]
        return "; ".join(f"{uuid}: {(folder / f'{uuid}.holder').read_text()}" for uuid in taken)
