"""Answers in generated text: where they stand, which tokens hold them, and whether they are right."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from attention_atlas.errors import nearest
from attention_atlas.folding import BETWEEN_WORDS, UNSEEN, Folded, fold, spelling_key
from attention_atlas.inputs.phrasing import (
    NO_WORDS,
    NOT_ANY,
    NUMBER_WORDS,
    boundaries,
    in_longer_number,
    is_announced,
    is_assent,
    is_denied,
    is_interjected,
    is_no_denial,
    linked,
)

NOT_APPLICABLE = -1
HAN_NUMERALS = re.compile("[〇零一二三四五六七八九十百千两兩]+")
# How spreadsheets, JSON and numpy write what a vocabulary calls 1, yes and no.
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.0*)?(?:e\+?\d{1,2})?")
NUMBER_LIKE = re.compile(r"[+-]?[\d.,]+(?:e[+-]?\d+)?")
BOOLEANS = {"true": "yes", "false": "no"}


@dataclass(frozen=True)
class Match:
    """An answer found: its canonical name and where it stands in the text, [start, end)."""

    answer: str
    start: int
    end: int


@dataclass(frozen=True)
class Vocabulary:
    """The spellings of answers: the answer of each by its key, and the expression that finds them."""

    answers: dict[str, str]
    keys: tuple[str, ...]
    expression: re.Pattern[str]
    numbers: frozenset[str]

    @property
    def has_no(self) -> bool:
        """Whether "no" is an answer here, so that it denies nothing."""
        return "no" in self.answers


@dataclass(frozen=True)
class Candidate:
    """A spelling in a folded text, at [start, end)."""

    key: str
    start: int
    end: int


def find_answer(text: str, answers: Mapping[str, Iterable[str]]) -> Match | None:
    """The first answer of a vocabulary that a text gives, the longest spelling where several start together.

    `answers` maps each canonical answer to its other spellings. Whole words alone, where the script parts words; no
    part of a longer number; nothing that the text denies ("not red but blue"); of "No, there are 3." the number.
    """
    known = vocabulary(answers)
    folded = fold(text)
    found = given_answer(folded, known)
    return None if found is None else Match(known.answers[found.key], *folded.place(found.start, found.end))


def vocabulary(answers: Mapping[str, Iterable[str]]) -> Vocabulary:
    """The vocabulary that a mapping of answers to their other spellings is."""
    return compiled(tuple((answer, tuple(others)) for answer, others in answers.items()))


@lru_cache(maxsize=256)
def compiled(answers: tuple[tuple[str, tuple[str, ...]], ...]) -> Vocabulary:
    """A vocabulary ready to search for; made once, as every sample of a type has the same."""
    by_key = {
        key: answer for answer, others in answers for spelling in (answer, *others) if (key := spelling_key(spelling))
    }
    keys = tuple(sorted(by_key, key=len, reverse=True))
    before, after = boundaries()
    alternatives = "|".join(f"(?P<s{number}>{pattern(key)})" for number, key in enumerate(keys))
    expression = re.compile(f"{before}(?:{alternatives}){after}" if keys else "(?!)")
    numeric = {answer for key, answer in by_key.items() if is_number(key)}
    return Vocabulary(by_key, keys, expression, frozenset(key for key in keys if by_key[key] in numeric))


def pattern(key: str) -> str:
    """The expression of a spelling; its words may be apart by white space, hyphens and marks of Markdown."""
    words = (f"{UNSEEN}*".join(map(re.escape, word)) for word in key.split(" "))
    return f"[{BETWEEN_WORDS}{UNSEEN}]+".join(words)


def is_number(key: str) -> bool:
    """Whether a spelling is a number, in digits or words."""
    return key.isdigit() or HAN_NUMERALS.fullmatch(key) is not None or set(key.split()) <= NUMBER_WORDS


def given_answer(folded: Folded, known: Vocabulary) -> Candidate | None:
    """The candidate that is the answer of a text."""
    left = not_denied(folded.text, candidates(folded.text, known), known.has_no)
    if not left:
        return None
    announced = [one for one in left if is_announced(folded.text, one.start, one.end)]
    first = announced[0] if announced else left[0]
    if first.key in NO_WORDS and first.key in known.numbers and is_interjected(folded.text, first.end):
        return next((one for one in left if one.key in known.numbers and one.key not in NO_WORDS), first)
    return first


def candidates(text: str, known: Vocabulary) -> list[Candidate]:
    """The spellings in a folded text that are no part of a longer word or number."""
    found = []
    for match in known.expression.finditer(text):
        key = known.keys[int(str(match.lastgroup)[1:])]
        found.append(Candidate(key, match.start(), match.end()))
    found = with_not_any(text, found, known)
    neighbours = zip([None, *found], found, [*found[1:], None], strict=False)
    return [one for before, one, after in neighbours if stands_alone(text, before, one, after, known)]


def with_not_any(text: str, found: Sequence[Candidate], known: Vocabulary) -> list[Candidate]:
    """The candidates and, where the vocabulary has "no" or "none", each "not any", which says the same."""
    key = next((word for word in ("none", "no") if word in known.answers), None)
    if key is None:
        return [*found]
    more = [Candidate(key, match.start(), match.end()) for match in NOT_ANY.finditer(text)]
    others = [one for one in found if not any(no.start < one.end and one.start < no.end for no in more)]
    return sorted([*others, *more], key=lambda one: one.start)


def stands_alone(
    text: str, before: Candidate | None, one: Candidate, after: Candidate | None, known: Vocabulary
) -> bool:
    """Whether a candidate between two others, if there are any, is more than a part of another word or number."""
    if one.key in NO_WORDS:
        return not is_no_denial(text, one.end)
    if one.key not in known.numbers:
        return not (after is not None and is_assent(text, one.start, one.end))
    touching = [before is not None and before.end == one.start and is_counted(before, known)]
    touching += [after is not None and after.start == one.end and is_counted(after, known)]
    return not any(touching) and not in_longer_number(text, one.start, one.end)


def is_counted(candidate: Candidate, known: Vocabulary) -> bool:
    """Whether a candidate is a number, and not "no" for none."""
    return candidate.key in known.numbers and candidate.key not in NO_WORDS


def not_denied(text: str, found: Sequence[Candidate], no_is_an_answer: bool) -> list[Candidate]:
    """The candidates without those that the text says not to be the answer."""
    left, place = [], 0
    while place < len(found):
        one = found[place]
        previous = found[place - 1].end if place else 0
        if one.key in NO_WORDS or not is_denied(text, one.start, one.end, previous, no_is_an_answer):
            left.append(one)
            place += 1
            continue
        gaps = ((found[n].end, found[n + 1].start) for n in range(place, len(found) - 1))
        place += 1 + linked(text, gaps)
    return left


def canonical(answer: str, answers: Mapping[str, Iterable[str]]) -> str | None:
    """The canonical name of an expected answer, None where the vocabulary does not have it.

    1.0 is 1, and true is yes, where the vocabulary has no such spelling itself.
    """
    known, key = vocabulary(answers).answers, spelling_key(answer)
    if key not in known and WHOLE_NUMBER.fullmatch(key):
        return known.get(str(int(float(key))))
    return known.get(key) or known.get(BOOLEANS.get(key, ""))


def nearest_answer(answer: str, answers: Mapping[str, Iterable[str]]) -> str:
    """The hint at what an answer that the vocabulary lacks could mean; of a number the answers there are.

    A number with a digit in common is another number, not a slip of the pen.
    """
    if NUMBER_LIKE.fullmatch(spelling_key(answer)):
        return nearest("", list(answers))
    return nearest(answer, list(answers))


def answer_span(token_texts: Sequence[str], start: int, end: int) -> tuple[int, int]:
    """First and last step whose tokens hold the characters [start, end) of the joined token texts.

    White space in front of an answer is not part of it: a token that is only the space before a word holds nothing.
    """
    steps, position = [], 0
    for step, text in enumerate(token_texts):
        if position < end and position + len(text) > start:
            steps.append(step)
        position += len(text)
    return steps[0], steps[-1]


def judge(generated: Sequence[str], expected: str, answers: Mapping[str, Iterable[str]]) -> dict[str, int | str]:
    """One row of the answers table, from a sample's token texts (special tokens as empty texts)."""
    match = find_answer("".join(generated), answers)
    wanted = canonical(expected, answers) if expected else None
    row: dict[str, int | str] = {"answer_found": 0, "answer_text": "", "answer_step": -1, "answer_last_step": -1}
    if match is not None:
        first, last = answer_span(generated, match.start, match.end)
        row = {"answer_found": 1, "answer_text": match.answer, "answer_step": first, "answer_last_step": last}
    correct = NOT_APPLICABLE if not expected else int(match is not None and match.answer == wanted)
    return {**row, "correct": correct}


def answers_table(rows: Iterable[dict[str, int | str]]) -> pd.DataFrame:
    """Rows of `judge` with their sample ids as the table of the contract: flags int8, steps int32, sorted by sample."""
    columns = ["sample_id", "answer_found", "answer_text", "answer_step", "answer_last_step", "correct"]
    table = pd.DataFrame(list(rows), columns=columns).sort_values("sample_id", ignore_index=True)
    return table.astype(
        {"answer_found": "int8", "answer_step": "int32", "answer_last_step": "int32", "correct": "int8"}
    )


def failed_row() -> dict[str, int | str]:
    """The row of a failed sample: nothing can be said of it."""
    return {
        "answer_found": NOT_APPLICABLE,
        "answer_text": "",
        "answer_step": -1,
        "answer_last_step": -1,
        "correct": NOT_APPLICABLE,
    }
