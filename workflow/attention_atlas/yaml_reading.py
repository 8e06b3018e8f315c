"""Reading YAML that people write: plain values alone, and nothing that YAML would quietly turn into something else."""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from attention_atlas.errors import AtlasError
from attention_atlas.reading import NO_SUCH_FILE, control_character, read_text, shown, shown_path

MOST_CHARACTERS = 2_000_000
DEEPEST = 100
MOST_VALUES = 20_000  # PyYAML reads some 6,000 a second
TAG = "tag:yaml.org,2002:"
PLAIN = {f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
PLAIN_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,17}|0x[0-9a-fA-F]{1,15})")


class RefusedError(Exception):
    """What YAML allows and settings do not."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem)
        self.line = mark.line + 1


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses more values, and deeper nests, than any settings have."""

    depth = values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node; its own depth is counted, as Python's would run out."""
        self.depth, self.values = self.depth + 1, self.values + 1
        mark = self.peek_event().start_mark
        if self.depth > DEEPEST:
            raise RefusedError(f"is nested deeper than {DEEPEST} levels", mark)
        if self.values > MOST_VALUES:
            raise RefusedError(f"has more than {MOST_VALUES} values; it is no file of settings", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def load_yaml(path: Path, missing: str = NO_SUCH_FILE) -> Any:
    """The value that a YAML file holds; refuses keys that stand twice, told with both lines."""
    text, here = read_text(path, missing), shown_path(path)
    if len(text) > MOST_CHARACTERS:
        raise AtlasError(f"{here}: has {len(text)} characters, more than {MOST_CHARACTERS}; it is no file of settings")
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        Check(loader).size(node)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise AtlasError(
            f"{here}: cannot be read as YAML: line {line} holds the character {chr(error.character)!r}; take it out"
        ) from None
    except RefusedError as error:
        raise AtlasError(f"{here}, line {error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        raise AtlasError(f"{here}: cannot be read as YAML: {told(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AtlasError(f"{here}: cannot be read as YAML: {str(error).splitlines()[0][:200]}") from None


def told(error: yaml.MarkedYAMLError) -> str:
    """A problem that PyYAML found, on one line with its place."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
    what = " ".join(filter(None, (error.context, error.problem)))
    return f"{where}{what[:200]}"


class Check:
    """What is wrong with the nodes of a document, told with their lines; each node is looked at once."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.sizes: dict[int, int] = {}
        self.open: set[int] = set()

    def size(self, node: yaml.Node) -> int:
        """How many values a node stands for, each alias counted for all that it repeats. Raises RefusedError."""
        if id(node) in self.open:
            refuse(node, "a value that holds itself; write it out")
        if id(node) not in self.sizes:
            self.open.add(id(node))
            self.check(node)
            self.sizes[id(node)] = 1 + sum(map(self.size, children(node)))
            self.open.remove(id(node))
        if self.sizes[id(node)] > MOST_VALUES:
            refuse(node, f"its aliases stand for more than {MOST_VALUES} values; write out those that are meant")
        return self.sizes[id(node)]

    def check(self, node: yaml.Node) -> None:
        """Refuse a node that is no plain value, or has a key twice."""
        if isinstance(node, yaml.ScalarNode):
            self.check_scalar(node)
        elif node.tag not in PLAIN:
            refuse(node, f"the tag {shown(node.tag.replace(TAG, '!!'))} is not for settings; leave it out")
        elif isinstance(node, yaml.MappingNode):
            self.check_keys(node)

    def check_scalar(self, node: yaml.ScalarNode) -> None:
        """Refuse what YAML reads as something else than is written: dates, octal numbers, minutes; and odd signs."""
        kind, written = node.tag.removeprefix(TAG), shown(node.value)
        if kind in ("timestamp", "value"):
            what = "a date" if kind == "timestamp" else "a sign of its own"
            refuse(node, f"{written} is {what} to YAML; write it in quotes")
        if node.tag not in PLAIN and kind != "merge":
            refuse(node, f"the tag {shown(node.tag.replace(TAG, '!!'))} is not for settings; leave it out")
        if kind == "int" and not PLAIN_INTEGER.fullmatch(node.value):
            refuse(node, f"{written} is no plain decimal number of at most 18 digits; a text is written in quotes")
        if kind == "float" and not (":" not in node.value and is_finite(node.value)):
            refuse(node, f"{written} is no finite decimal number; a text is written in quotes")
        odd = control_character(node.value)
        if odd is not None:
            refuse(node, f"{written} holds the character {odd!r}; take it out")

    def check_keys(self, node: yaml.MappingNode) -> None:
        """Refuse a key that is no single value, and one that stands twice."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                refuse(key, "a key must be a single value, not a list or a mapping")
            self.check_scalar(key)
            name = "<<" if key.tag == f"{TAG}merge" else self.loader.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                refuse(key, f"the key {shown(name)} stands twice, in line {lines[name]} and line {line}; leave one out")
            lines[name] = line


def children(node: yaml.Node) -> list[yaml.Node]:
    """The nodes inside a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def is_finite(written: str) -> bool:
    """Whether a YAML number has a finite value."""
    try:
        return math.isfinite(float(written.replace("_", "")))
    except ValueError:
        return False


def refuse(node: yaml.Node, problem: str) -> None:
    """Raise RefusedError at a node."""
    raise RefusedError(problem, node.start_mark)
