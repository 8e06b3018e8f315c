"""Read files that people write, with the standard library alone; report each fault in one sentence."""

import json
import re
import reprlib
import stat
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

from attention_atlas.errors import AtlasError

LONGEST_SHOWN = 120
NO_SUCH_FILE = "there is no such file"
# What else may lie where a file is meant.
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
JSON_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)', re.DOTALL)
COLON = re.compile(r"\s*:")
HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def shown(value: Any) -> str:
    """Return a value as error messages show it, shortened if it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = LONGEST_SHOWN
    short.maxlist = short.maxtuple = short.maxdict = 12
    short.maxlevel = 4
    return short.repr(value)


def shown_path(path: Path | str) -> str:
    """Return a path as error messages show it, shortened if it is long."""
    text = str(path)
    return text if len(text) <= 3 * LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...{text[-LONGEST_SHOWN:]}"


def read_text(path: Path, missing: str = NO_SUCH_FILE) -> str:
    """Read a UTF-8 file without its byte-order mark; `missing` is the message if the file does not exist.

    Refuse anything but a regular file before opening it: a pipe would never end.
    """
    here = shown_path(path)
    try:
        kind = KINDS.get(stat.S_IFMT(path.stat().st_mode))
        if kind:
            raise AtlasError(f"{here}: is {kind}; give a file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise AtlasError(f"{here}: {missing}") from None
    except UnicodeDecodeError as error:
        found = "it looks like UTF-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else error.reason
        raise AtlasError(f"{here}: is not UTF-8 ({found}, byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise AtlasError(f"{here}: cannot be read ({error.strerror})") from None
    except ValueError:  # of a path with a NUL byte
        raise AtlasError(f"{here!r}: is no name of a file; it holds a NUL byte") from None


def parse_json(text: str, source: Path | str, line: int | None = None) -> Any:
    """Parse a text as JSON; `line` is its line number if it is one line of its source.

    Refuse what parsers treat differently: repeated keys, NaN and Infinity, half of a surrogate pair.
    """
    here = shown_path(source) if line is None else f"{shown_path(source)}, line {line}"
    try:
        content = json.loads(text, object_pairs_hook=once, parse_constant=refuse_constant)
    except RepeatedKeyError as error:
        first, second = (place(text, at, line) for at in repeated_key(text))
        raise AtlasError(
            f"{here}: the key {shown(error.args[0])} stands twice in one object, {first} and {second}; leave one out"
        ) from None
    except json.JSONDecodeError as error:
        raise AtlasError(f"{here}: is not JSON ({error.msg}, {place(text, error.pos, line)})") from None
    except ConstantError as error:
        where = place(text, next(one.start() for one in JSON_CONSTANT.finditer(text) if one.group(1)), line)
        raise AtlasError(f"{here}: {error} is no JSON number ({where}); write null, or leave it out") from None
    except ValueError:  # the only other one that json.loads raises
        raise AtlasError(f"{here}: holds a number of over {sys.get_int_max_str_digits()} digits; correct it") from None
    except RecursionError:
        raise AtlasError(f"{here}: its lists and objects are nested too deep to be read") from None
    half = half_a_pair(content) if HALF_A_PAIR.search(text) else None
    if half:
        raise AtlasError(f"{here}: holds {half!r}, half of a surrogate pair, which is no character; correct the text")
    return content


class ConstantError(Exception):
    """NaN, Infinity or -Infinity in JSON."""


class RepeatedKeyError(Exception):
    """A key that stands twice in one JSON object."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dictionary; refuse repeated keys."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedKeyError(next(name for name in names if names.count(name) > 1))
    return made


def refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ConstantError(name)


def repeated_key(text: str) -> tuple[int, int]:
    """Return both positions of the first repeated key in a valid JSON text."""
    objects: list[dict[str, int] | None] = []
    for token in JSON_TOKEN.finditer(text):
        sign = token.group()
        if sign in "{[":
            objects.append({} if sign == "{" else None)
        elif sign in "}]":
            objects.pop()
        elif objects and objects[-1] is not None and COLON.match(text, token.end()):
            first = objects[-1].setdefault(json.loads(sign), token.start())
            if first != token.start():
                return first, token.start()
    return 0, 0


def place(text: str, position: int, line: int | None) -> str:
    """A position in a text, in words; of one line by its column."""
    column = position - text.rfind("\n", 0, position)
    return f"column {column}" if line is not None else f"line {text.count(chr(10), 0, position) + 1} column {column}"


def half_a_pair(content: Any) -> str | None:
    """The first half of a surrogate pair in the texts of a JSON value, which no file can hold."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return str(error.object[error.start])
    return None


def control_character(text: str) -> str | None:
    """Return the first control character or lone surrogate in a text, if any: nobody types these on purpose."""
    found = CONTROL.search(text)
    if found:
        return found.group()
    return lone_surrogate(text)


def lone_surrogate(text: str) -> str | None:
    """Return the first half of a surrogate pair that stands alone in a text, if any; no file in UTF-8 can hold it."""
    return None if text.isascii() else next((one for one in text if "\ud800" <= one <= "\udfff"), None)


def other_form(path: Path) -> str:
    """Return a hint if a file with the same-looking name exists in place of a missing one; else nothing."""
    try:
        changed = path.parent.stat().st_mtime_ns
        there = names_in(path.parent, changed).get(looks(path.name), [])
    except (OSError, ValueError):
        return ""
    if not there or path.name in there:
        return ""
    ours, theirs = form(path.name), form(there[0])
    how = f"in Unicode form {theirs} (the table has {ours})" if ours != theirs else "in other capitals"
    return f"; {there[0]!r} lies there {how}: rename the file, or copy its name into the table"


@lru_cache(maxsize=8)
def names_in(folder: Path, changed: int) -> dict[str, list[str]]:
    """Return the names in a folder by how they look; `changed`, the folder's time, makes the cache see changes."""
    names: dict[str, list[str]] = {}
    for one in sorted(folder.iterdir()):
        names.setdefault(looks(one.name), []).append(one.name)
    return names


def looks(name: str) -> str:
    """What a name looks like: composed, in small letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def form(name: str) -> str:
    """The Unicode form of a name: composed, decomposed, or some of each."""
    return next((kind for kind in ("NFC", "NFD") if unicodedata.is_normalized(kind, name)), "mixed")
