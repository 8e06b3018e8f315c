"""Texts as they are compared: case, composition and width folded, each character with its place in what was given."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

# Stands for characters that nobody sees: soft hyphens, zero-width spaces, marks of direction, variation selectors.
UNSEEN = "\u00ad"
LONG_DASH = "—"
# What stands between two words beside white space: hyphens, and the marks of Markdown and of snake_case.
BETWEEN_WORDS = rf"\s\-*`~{LONG_DASH}"
SEPARATORS = re.compile(f"[{BETWEEN_WORDS}]+")
UNSEEN_MARKS = {0x034F, 0x0640, 0x20E3, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
FILLERS = {0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
ALIKE = {
    **dict.fromkeys("‘’‛ʼ′", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("—―⸺⸻", LONG_DASH),
    **dict.fromkeys("〜∼", "~"),
    **{"−": "-", "⁃": "-", "⁄": "/", "∕": "/", "٫": ".", "٬": ",", "ı": "i"},
    "_": "*",  # a mark between words to us, a letter to regular expressions
}


@dataclass(frozen=True)
class Folded:
    """A folded text; character n of it comes from [starts[n], ends[n]) of the text as given."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the text as given that [start, end) comes from."""
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """A text without what makes no difference to a reader; hyphens of any sort are `-`, digits of any script 0 to 9."""
    if text.isascii():
        return Folded(text.lower().replace("_", "*"), range(len(text)), range(1, len(text) + 1))
    parts = [(folded(text[start:end]), start, end) for start, end in clusters(text)]
    return Folded(
        "".join(part for part, _, _ in parts),
        [start for part, start, _ in parts for _ in part],
        [end for part, _, end in parts for _ in part],
    )


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """The parts of a text that are composed by themselves: a letter with its marks, a syllable with its letters."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not joins(text[start:end], text[end]):
            yield start, end
            start = end


def joins(before: str, character: str) -> bool:
    """Whether a character belongs to what stands before it."""
    if unicodedata.category(character).startswith("M"):
        return True
    if character.isascii():
        return False
    together, before = unicodedata.normalize("NFKC", before + character), unicodedata.normalize("NFKC", before)
    return together != before + unicodedata.normalize("NFKC", character)


@cache
def folded(cluster: str) -> str:
    """A cluster, folded."""
    seen = "".join(character for character in cluster if not is_unseen(character))
    if not seen:
        return UNSEEN
    if unicodedata.decomposition(seen[0]).startswith(("<super>", "<sub>")):
        return seen  # a footnote or a power is no part of the number before it
    plain = "".join(map(plain_character, unicodedata.normalize("NFKC", seen)))
    lower = unicodedata.normalize("NFKC", plain.casefold()).replace("i\u0307", "i").replace("ı", "i")
    return lower or UNSEEN


def plain_character(character: str) -> str:
    """A composed character as the one that it is alike to."""
    if character in ALIKE:
        return ALIKE[character]
    if unicodedata.category(character) == "Pd":
        return "-"
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def is_unseen(character: str) -> bool:
    """Whether a character has no picture of its own, and parts no words."""
    return unicodedata.category(character) == "Cf" or ord(character) in UNSEEN_MARKS or ord(character) in FILLERS


@cache
def spelling_key(spelling: str) -> str:
    """A spelling as it is looked up: folded, its words one space apart; signs around them are part of it."""
    text = fold(spelling).text.replace(UNSEEN, "").strip()
    inner = text.strip("-*`~" + LONG_DASH)
    if not inner:
        return text
    first = text.index(inner)
    before, after = text[:first], text[first + len(inner) :]
    return before + SEPARATORS.sub(" ", inner) + after
