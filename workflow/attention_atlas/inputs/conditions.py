"""Control conditions: how their samples and pictures are called, and what is right there.

A control of a sample has the id "<sample>.<condition>" ("<sample>.other_image.<k>" for the k-th other image). Its
picture is an image of the study, or made of one: "blank:<image>", its background colour alone;
"without:<image>:<objects joined by +>", those painted over; "like:<image>:<other>", the other at the size of the first.
"""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

RANDOM_WEIGHTS = "random_weights"
# Conditions that ask no question of the study: their map is that of the first step.
AT_FIRST_STEP = ("generic", RANDOM_WEIGHTS)


def source_of(sample_id: str, condition: str) -> str:
    """The sample that a control is of; the sample itself where the condition is empty."""
    return re.sub(rf"\.{re.escape(condition)}(\.\d+)?$", "", sample_id) if condition else sample_id


def image_of(name: str) -> str:
    """The image of the study that a picture shows, whole or in part."""
    kind, _, rest = name.partition(":")
    if kind == "like":
        return rest.split(":")[-1]
    if kind == "without":
        return rest.rpartition(":")[0]
    return rest if kind == "blank" else name


def expected_answers(asked: pd.DataFrame, samples: pd.DataFrame, query_types: Mapping[str, Any]) -> dict[str, str]:
    """The right answer of samples of any condition, empty where none is known.

    `asked` are the study's rows, whose answers are theirs whatever they call their condition; `samples` has sample_id
    and condition.
    """
    asked = asked.set_index("sample_id")
    found = {}
    for name, condition in samples[["sample_id", "condition"]].itertuples(index=False):
        source = asked.loc[source_of(name, condition)]
        own = name in asked.index
        found[name] = source["expected_answer"] if own else expected_of_control(source, condition, query_types)
    return found


def expected_of_control(source: pd.Series, condition: str, query_types: Mapping[str, Any]) -> str:
    """What is right for a control of a sample.

    A paraphrase, and a picture without other objects, leave the answer as it is. Without its targets, a question has
    the answer that its type declares (`without_target`), if it had one. Other pictures have answers that no one told.
    """
    if condition in ("paraphrase", "control_twin"):
        return source["expected_answer"]
    if condition == "twin" and source["expected_answer"]:
        return query_types[source["query_type"]]["without_target"]
    return ""
