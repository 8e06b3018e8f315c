"""Seals: a file's hash within the file itself, so that it can be checked wherever it was copied.

A seal is 64 digits after a mark: behind the end of netCDF, among the metadata of parquet, where other readers pass over
it. The hash is that of the file with zeros in the place of the digits. No library is given a file whose seal is broken:
HDF5 ends the whole process on some, and has no checksum of texts; parquet has none of its metadata.
"""

import hashlib
import re
from pathlib import Path

MARK = "atlas-sha256:"
BLANK = MARK + 64 * "0"
SEAL = re.compile(MARK.encode() + b"([0-9a-f]{64})")
# How many bytes at the end of a file are searched for the mark.
END_BYTES = 2**22


def append_seal(path: Path) -> None:
    """Add a seal at the end of a file."""
    with path.open("ab") as file:
        file.write(BLANK.encode())
    seal(path)


def seal(path: Path) -> None:
    """Put the hash of a file in the place of its blank seal."""
    place, _ = find_seal(path)
    sha256 = blank_sha256(path, place)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(sha256.encode())


def is_sealed(path: Path) -> bool:
    """Whether a file has a seal."""
    return find_seal(path)[1] is not None


def is_whole(path: Path) -> bool:
    """Whether a file has a seal that holds."""
    place, sha256 = find_seal(path)
    return sha256 is not None and sha256 == blank_sha256(path, place)


def find_seal(path: Path) -> tuple[int, str | None]:
    """Where the digits of a file's seal are, and the digits; None where it has no seal."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - END_BYTES)
        file.seek(start)
        found = list(SEAL.finditer(file.read()))
    return (start + found[-1].start(1), found[-1][1].decode()) if found else (0, None)


def blank_sha256(path: Path, place: int) -> str:
    """The hash of a file with a blank seal."""
    with path.open("rb") as file:
        sha256 = hashlib.sha256()
        left = place
        while left and (part := file.read(min(left, 2**20))):
            sha256.update(part)
            left -= len(part)
        sha256.update(64 * b"0")
        file.seek(place + 64)
        while part := file.read(2**20):
            sha256.update(part)
    return sha256.hexdigest()
