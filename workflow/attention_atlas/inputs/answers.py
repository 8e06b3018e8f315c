"""Answers in generated text: where they stand, which tokens hold them, and whether they are right."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

NOT_APPLICABLE = -1


@dataclass(frozen=True)
class Match:
    """An answer found: its canonical name and where it stands in the text, [start, end)."""

    answer: str
    start: int
    end: int


def normalise(text: str) -> str:
    """Lower case, compatibility forms unified; the length is kept, so that positions still point into the text."""
    return "".join(plain if len(plain := unicodedata.normalize("NFKC", c).casefold()) == 1 else c for c in text)


def spelling_key(spelling: str) -> str:
    """A spelling as it is looked up: normalised, its words one space apart."""
    return " ".join(normalise(spelling).split())


def find_answer(text: str, answers: Mapping[str, Iterable[str]]) -> Match | None:
    """The first answer of a vocabulary in a text, whole words only, the longest spelling where several start together.

    `answers` maps each canonical answer to its other spellings; words of a spelling may be apart by any white space.
    """
    spellings = {
        key: answer
        for answer, others in answers.items()
        for spelling in (answer, *others)
        if (key := spelling_key(spelling))
    }
    longest_first = sorted(spellings, key=len, reverse=True)
    alternatives = "|".join(r"\s+".join(map(re.escape, spelling.split())) for spelling in longest_first)
    found = re.search(rf"(?<!\w)(?<!\d[.,])(?:{alternatives})(?!\w|[.,]\d)", normalise(text)) if alternatives else None
    if found is None:
        return None
    return Match(spellings[spelling_key(found.group())], found.start(), found.end())


def canonical(answer: str, answers: Mapping[str, Iterable[str]]) -> str | None:
    """The canonical name of an expected answer, None where the vocabulary does not have it."""
    wanted = spelling_key(answer)
    for name, others in answers.items():
        if wanted in {spelling_key(spelling) for spelling in (name, *others)}:
            return name
    return None


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
