"""Where numbers come from: hashes of files, a fingerprint of code, versions of libraries."""

import hashlib
import importlib.metadata
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from attention_atlas.errors import AtlasError

PACKAGE = Path(__file__).parent
# A file that changed so lately may change again within one tick of its clock, unseen: it is not remembered yet. Two
# seconds is the coarsest clock of a file system in use (FAT).
LATELY_NS = 2_000_000_000
THREADS = 8


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(paths: Iterable[str], memory: Path | None) -> dict[str, str]:
    """SHA-256 of files by path. `memory` is the file that remembers them; where it is not there all are read."""
    remembered = {} if memory is None else recall(memory)
    stamps = {path: stamp(path) for path in paths}
    unknown = [path for path, seen in stamps.items() if path not in remembered or remembered[path][0] != seen]
    with ThreadPoolExecutor(THREADS) as threads:  # a task for each file would cost more than a small file does
        parts = threads.map(read_all, [unknown[number::THREADS] for number in range(THREADS)])
        read = dict(chain.from_iterable(parts))
    hashes = {path: read.get(path) or remembered[path][1] for path in stamps}
    before = time.time_ns() - LATELY_NS
    settled = {path: (stamps[path], hashes[path]) for path in unknown if max(stamps[path][-2:]) < before}
    if settled and memory is not None:
        remember(memory, {**remembered, **settled})
    return hashes


def read_all(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Files with their SHA-256."""
    return [(path, file_sha256(Path(path))) for path in paths]


def stamp(path: str) -> tuple[int, ...]:
    """Return which file a path leads to, its size and its times in ns.

    A copy can set back the time of its content, never that of its last change. A link can be pointed at another file
    of the same size and time.
    """
    status = Path(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def recall(memory: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Stamp and hash of files by path; nothing where `memory` is not there or damaged."""
    try:
        return {path: (tuple(seen), sha256) for path, (seen, sha256) in json.loads(memory.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(memory: Path, hashes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Write the memory, never seen half-written though jobs of a cluster plan side by side; where that is possible."""
    with suppress(OSError):  # a folder of somebody else, a full disk: files are read again then
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_name(f".{memory.name}.{os.getpid()}")
        partial.write_text(json.dumps(hashes), "utf-8")
        partial.replace(memory)


def text_sha256(value: Any) -> str:
    """SHA-256 of a value written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def module_path(module: str) -> Path:
    """The file of a module named relative to the package: "attention.capture"."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def code_fingerprint(modules: Iterable[str]) -> str:
    """One hash over the source of modules (names as in `module_path`)."""
    return text_sha256({module: file_sha256(module_path(module)) for module in modules})


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name; what follows a plus sign (the build) is left out."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in names}


def committed_files(folder: Path, output: Path) -> None:
    """Write the files of a folder of this repository, as git's last commit has them, below `output`."""
    archived = subprocess.run(["git", "archive", "HEAD", "--", str(folder)], capture_output=True, check=False)
    if archived.returncode:
        raise AtlasError(
            f"git has no committed {folder} here ({archived.stderr.decode().strip()}); name a folder with --published"
        )
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as files:
        if hasattr(tarfile, "data_filter"):
            files.extraction_filter = tarfile.data_filter  # Python before 3.11.4 has none; the archive is git's own
        files.extractall(output)
