"""Write files whole or not at all, and recognise each result by the hash it had when its job wrote it.

The hash of results/<path> lies in results/written/<path>.sha256, in the form of `sha256sum`. Damage, an edit by hand
and another version from git all show as a result that is not what its job wrote, which is refused by name.
"""

import errno
import gc
import json
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_atlas.errors import AtlasError
from attention_atlas.provenance import file_hashes, file_sha256

RESULTS, WRITTEN = "results", "written"
# What jobs write in results/.
MADE = ("attention", "analysis", "paper", "summary.json", "metrics.json")
RECORD = re.compile(r"([0-9a-f]{64})  \S.*\n?")
# Where the hashes of results are remembered, below a project's folder.
MEMORY = Path("scratch", "hashes", "results.json")
# Larger results are compared by the commands that read them, not at each planning.
SMALL_BYTES = 2**26
MOST_TOLD = 20
FULL = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "your quota on its disk is used up",
    errno.EFBIG: "it is larger than files may be here (ulimit -f)",
}
# More than a library writes at once.
PROBE_BYTES = 2**21


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write; flush it to disk and rename it to `path` when the block succeeds.

    Record the hash of a result. Report a full disk as such.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with naming_full_disk(path, partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            record = record_of(path)
            if record is not None:
                write_record(record, name_of(record), file_sha256(partial))
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Any, **options: Any) -> None:
    """Write plain data as JSON, as `replacing` does; NaN is refused, which is not JSON."""
    write_text(path, json.dumps(content, **{"indent": 1, "allow_nan": False, **options}) + "\n")


def read_json(path: Path, cure: str) -> Any:
    """The content of a JSON file; `cure` says how to get a whole one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"{path} cannot be read ({told(error)}). {cure}") from None


@contextmanager
def naming_full_disk(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Report a full disk as such, with the file that was being written and the free space.

    `partial` is the file to test this on where a library gives no reason.
    """
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:  # libraries tell it as errors of any kind
        reason = full_disk_told(path, error)
        if reason is None and isinstance(error, (OSError, RuntimeError)) and partial is not None and partial.is_file():
            reason = full_disk_told(path, failed_probe(partial))
        if reason is None:
            raise
        let_go(error)
        raise AtlasError(f"{path} cannot be written: {reason}") from error


def full_disk_told(path: Path, error: BaseException | None) -> str | None:
    """Return the message for an error that a full disk caused; None for any other error."""
    for one in chain(error):
        if isinstance(one, OSError) and one.errno in FULL:
            return f"{FULL[one.errno]}{room(path)}. Make room and run again"
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def let_go(error: BaseException) -> None:
    """Close the files that an error's frames hold open. Ignore failures: the full disk is reported already."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        for one in chain(error):
            traceback.clear_frames(one.__traceback__)
        gc.collect()
    finally:
        sys.unraisablehook = hook


def failed_probe(partial: Path) -> OSError | None:
    """Return the error that growing a file raises, if any."""
    try:
        with partial.open("ab") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def room(path: Path) -> str:
    """Return the free space where a file is to be written, in brackets; empty if it cannot be found out."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    if folder is None:
        return ""
    disk = shutil.disk_usage(folder)
    return f" ({disk.free / 2**20:.1f} MiB free of {disk.total / 2**20:,.0f} MiB at {folder})"


def told(error: BaseException) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def record_of(path: Path) -> Path | None:
    """Return the file that keeps a result's hash; None for other files.

    Snakemake's local copies of stored results do not count: they can change without their record.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link to a result is a name of its own
    for folder in path.parents:
        own = path.relative_to(folder)
        if folder.name == RESULTS and own.parts[0] in MADE and ".snakemake" not in path.parts:
            return folder / WRITTEN / f"{own}.sha256"
    return None


def name_of(record: Path) -> str:
    """Return the path of a result relative to its project, given the path of its record."""
    result = result_of(record)
    results = next(folder for folder in record.parents if folder.name == WRITTEN).parent
    return str(Path(results.name) / result.relative_to(results))


def result_of(record: Path) -> Path:
    """Return the path of the result that a record is of."""
    written = next(folder for folder in record.parents if folder.name == WRITTEN)
    return written.parent / record.relative_to(written).with_suffix("")


def write_record(record: Path, name: str, sha256: str) -> None:
    """Keep the hash of a file, in the form that `sha256sum --check` reads."""
    write_text(record, f"{sha256}  {name}\n")


def read_record(record: Path) -> str | None:
    """The hash that a record keeps; None where there is no record."""
    try:
        text = record.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        text = ""
    found = RECORD.fullmatch(text)
    if found is None:
        command = shlex.join(["rm", str(record), str(result_of(record))])
        raise AtlasError(
            f"{record}, the record of a result's hash, is damaged. Remove it with its result: snakemake then makes "
            f"both anew, or `dvc checkout` brings both back: {command}"
        )
    return found[1]


def recorded(path: Path) -> str | None:
    """Return the hash that a result had when its job wrote it; None without a record."""
    record = record_of(path)
    return None if record is None else read_record(record)


def hashes_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of results of one project; read a file again only if its size or times changed."""
    absolute = {path: os.path.abspath(path) for path in paths}  # noqa: PTH100
    found = file_hashes(absolute.values(), memory_of(next(iter(absolute), Path())))
    return {path: found[name] for path, name in absolute.items()}


def memory_of(path: Path) -> Path | None:
    """The file that remembers the hashes of a project's results; None where `path` lies in no project."""
    record = record_of(path)
    project = next((folder.parent for folder in record.parents if folder.name == RESULTS), None) if record else None
    return project / MEMORY if project is not None and (project / "Snakefile").is_file() else None


def is_as_written(path: Path) -> bool:
    """Return whether a result is as its job wrote it, False without a record. Raises AtlasError if it changed."""
    expected = recorded(path)
    if expected is None:
        return False
    if hashes_of([path])[path] != expected:
        raise AtlasError(changed([path]))
    return True


def refuse_changed_results(results: Path = Path(RESULTS)) -> None:
    """Refuse results of up to SMALL_BYTES that are not what their jobs wrote."""
    folder = results / WRITTEN
    records = {results / name.relative_to(folder).with_suffix(""): name for name in folder.rglob("*.sha256")}
    small = [path for path in sorted(records) if path.is_file() and path.stat().st_size <= SMALL_BYTES]
    hashes = hashes_of(small)
    others = [path for path in small if hashes[path] != read_record(records[path])]
    if others:
        raise AtlasError(changed(others))


def changed(paths: list[Path]) -> str:
    """Return the error message for changed results, with the cure."""
    more = f" and {len(paths) - MOST_TOLD} more" if len(paths) > MOST_TOLD else ""
    command = shlex.join(["rm", *map(str, paths[:MOST_TOLD])])
    return (
        f"{', '.join(map(str, paths[:MOST_TOLD]))}{more}: not what the job that made it wrote (damaged, edited, or of "
        "another version). After a change of commit `dvc pull` brings the rest of it. Otherwise remove it; then "
        f"snakemake makes it anew, or `dvc checkout` (of tables `git checkout`) brings it back: {command}"
    )
