"""Which settings a step reads: keys such as `steps.selector` that the catalogues declare, and no other.

A rule compares the keys of its step, and its command is given these keys alone: a setting that nobody compares cannot
be part of a result.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attention_atlas.config import Section, Settings, checked, is_section, load_settings
from attention_atlas.errors import AtlasError

LONGEST_SHOWN = 40
# Mappings with an entry for each name that a user chose; their entries are compared one by one.
BY_NAME = ("query_types", "contrasts")
S = TypeVar("S", bound=Section)


class UndeclaredSettingError(AtlasError):
    """A step reads a setting that its entry in the catalogue does not declare."""


class Declared(dict[str, Any]):
    """Settings that hold the declared keys alone; reading another one is an error, with a default or without."""

    def __init__(self, content: Mapping[str, Any], place: str = "") -> None:
        super().__init__(content)
        self.place = place

    def __missing__(self, key: str) -> Any:
        raise UndeclaredSettingError(
            f"the setting {self.place}{key} is read, but not declared; add it to this step's keys in its catalogue.py"
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a declared key; `default` is never used."""
        return self[key]


def expanded(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys with each section replaced by the keys in it."""
    return tuple(single for key in keys for single in expanded_key(key))


def expanded_key(key: str) -> tuple[str, ...]:
    """Return a key itself, or the keys of the section that it names."""
    section: Any = Settings
    for part in key.split("."):
        if not is_section(section) or part not in section.model_fields:
            raise AtlasError(f"a catalogue.py declares the setting {key!r}, which does not exist")
        section = section.model_fields[part].annotation
    return expanded(f"{key}.{name}" for name in section.model_fields) if is_section(section) else (key,)


def as_values(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain data, mappings sorted by key: their order in the file means nothing."""
    values: dict[str, Any] = json.loads(json.dumps(settings.model_dump(mode="json"), sort_keys=True))
    return values


def at(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key."""
    for part in key.split("."):
        values = values[part]
    return values


def declared(values: Mapping[str, Any], keys: Iterable[str]) -> Declared:
    """Return settings that hold these keys alone."""
    found = Declared({})
    for key in expanded(keys):
        *sections, name = key.split(".")
        here, place = found, ""
        for section in sections:
            place += f"{section}."
            here = here.setdefault(section, Declared({}, place))
        here[name] = at(values, key)
    return found


def read_declared(path: Path, keys: Iterable[str]) -> Declared:
    """Read and check a file of settings, YAML or JSON; returns the declared keys."""
    return declared(as_values(load_settings(path)), keys)


def typed(section: type[S], values: Declared) -> S:
    """Return a declared section as its type; a field that is not declared cannot be read."""
    found = checked(section, dict(values), f"settings, {section.__name__.lower()}")
    for name in section.model_fields.keys() - values.keys():
        del found.__dict__[name]
    return found


def compared(values: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return what a job is compared by for a key: one short text `key = value`, or one for each entry of a mapping."""
    value = at(values, key)
    if key in BY_NAME:
        return {f"{key}.{name}": short(f"{key}.{name}", entry) for name, entry in value.items()}
    return {key: short(key, value)}


def short(key: str, value: Any) -> str:
    """Return `key = value`; of a long value the start of a hash."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"{key} = {text if len(text) <= LONGEST_SHOWN else f'({sha256(text)[:12]})'}"


def sha256(text: str) -> str:
    """Return the hash of a text; a lone surrogate, as the command line can give it, is part of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_once(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write content as a JSON file that is named by its hash, unless it is there; returns its path.

    The file is never seen half-written, though jobs of a cluster plan side by side.
    """
    text = json.dumps(content, sort_keys=True, indent=1) + "\n"
    path = folder / f"{name}-{sha256(text)[:16]}.json"
    if not path.is_file() or path.read_text("ascii", "replace") != text:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{path.name}.{os.getpid()}"
        partial.write_text(text, "ascii")
        partial.replace(path)
    return path
