"""Files that tables name: where they lie, and what is wrong with a name or with what lies there.

A link to a file is that file, wherever it lies; only a name may not lead out of its folder. Nothing is opened here, and
nothing but a regular file is to be opened anywhere: reading a pipe waits for ever.
"""

import errno
import os
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from attention_atlas.errors import AtlasError
from attention_atlas.reading import KINDS, lone_surrogate

LONGEST_NAME = 255  # bytes of a file's name that common file systems take


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file named relative to a folder. Raises AtlasError for a name that is none, or leads out."""
    problem = name_problem(folder, name)
    if problem:
        raise AtlasError(problem)
    return located(folder, name)


def name_problem(folder: Path, name: str) -> str | None:
    """Say what is wrong with a name relative to a folder, if anything; the folder is not looked into."""
    if not name.strip():
        return f"is empty; it must name a file in {folder}"
    if "\0" in name:
        return f"{name!r} holds a NUL byte, which no file name can; correct the table"
    if lone_surrogate(name):
        return f"{name!a} holds half of a character (a lone surrogate), which is no text; correct the table"
    if "://" in name:
        return f"{name!r} is an address; download the file into {folder} and name it relative to that folder"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return f"{name!r} leads out of {folder}; put the file, or a link to it, there and name it relative to it"
    longest = max(path.parts, key=lambda part: len(part.encode()), default="")
    if len(longest.encode()) > LONGEST_NAME:
        return (
            f"'{longest[:40]}...' is a name of {len(longest.encode())} bytes, of which file systems take "
            f"{LONGEST_NAME}; rename the file"
        )
    return None


def located(folder: Path, name: str) -> Path:
    """Return the path of a name in a folder or, where nothing is there, of the same name in another Unicode form.

    macOS writes "é" as two characters and most tables as one: the same name to every reader.
    """
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part if part.isascii() or os.path.lexists(path / part) else same_to_readers(path, part)
    return path


def same_to_readers(folder: Path, name: str) -> Path:
    """Return the only file of a folder whose name reads the same, else the path of the name itself."""
    try:
        alike = [path for path in folder.iterdir() if composed(path.name) == composed(name)]
    except (OSError, ValueError):
        alike = []
    return alike[0] if len(alike) == 1 else folder / name


def composed(name: str) -> str:
    """Return a name in the Unicode form in which "é" is one character."""
    return unicodedata.normalize("NFC", name)


def file_problem(path: Path) -> str | None:
    """Say why a path is no file that can be read, if so; links are followed."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        if path.is_symlink():
            return f"is a link to {path.readlink()}, which is not there; fetch that file or replace the link"
        return "there is no such file" + backslash_hint(path)
    except ValueError:
        return "is no name that a file can have"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself; replace it by the file"
        return f"cannot be read ({error.strerror})"
    if kind != stat.S_IFREG:
        return f"is {KINDS.get(kind, 'no file')}, not a file; only files can be read"
    return None


def backslash_hint(path: Path) -> str:
    """Return a hint where a name was written on Windows."""
    return "; folders are written with '/', not '\\'" if "\\" in path.name else ""


def is_missing(path: Path) -> bool:
    """Whether nothing lies at a path, or a link to nothing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
