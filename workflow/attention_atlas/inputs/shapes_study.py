"""The demo study `shapes`: which scenes it has and what is asked of each, written once as samples.csv and objects.csv.

48 scenes, twelve for each of purple present or absent x red present or absent, so that the two recognition questions
can be compared fairly; answers that a scene leaves open are balanced over the study by choosing the less used one.
"""

import csv
from collections import Counter
from pathlib import Path
from random import Random

from attention_atlas.files import replacing
from attention_atlas.inputs import questions
from attention_atlas.inputs.questions import Question
from attention_atlas.inputs.scenes import COLOURS, KINDS, OBJECT_COLUMNS, Scene, random_scene

SAMPLE_COLUMNS = (
    *("sample_id", "image", "query_id", "query_type", "query", "expected_answer"),
    *("condition", "target_object", "split"),
)
SCENES_PER_QUARTER = 12
COUNTS = (2, 3, 4, 5, 6)


def write_study(folder: Path, seed: int, scenes_per_quarter: int = SCENES_PER_QUARTER) -> None:
    """Write samples.csv and objects.csv of the study; the same seed gives the same bytes."""
    scenes = study_scenes(Random(f"shapes {seed}"), scenes_per_quarter)
    asked = study_questions(scenes, Random(f"questions {seed}"))
    folder.mkdir(parents=True, exist_ok=True)
    objects = [row for number, scene in enumerate(scenes) for row in object_rows(number, scene)]
    write_table(folder / "objects.csv", OBJECT_COLUMNS, objects)
    splits = ("select", "evaluate")
    rows = [
        sample_row(number, query_id, question, splits[number // 4 % 2])
        for number, by_id in enumerate(asked)
        for query_id, question in by_id.items()
    ]
    write_table(folder / "samples.csv", SAMPLE_COLUMNS, rows)


def study_scenes(random: Random, per_quarter: int = SCENES_PER_QUARTER) -> list[Scene]:
    """The scenes, the four quarters of the design taking turns, each quarter with the same spread of counts."""
    return [
        matching_scene(random, count=COUNTS[(turn + quarter) % len(COUNTS)], purple=quarter < 2, red=quarter % 2 == 0)
        for turn in range(per_quarter)
        for quarter in range(4)
    ]


def matching_scene(random: Random, count: int, purple: bool, red: bool) -> Scene:
    """A scene with the wanted colours present and absent, of which every question can be asked."""
    excluded = {colour for colour, wanted in (("purple", purple), ("red", red)) if not wanted}
    colours = tuple(colour for colour in COLOURS if colour not in excluded)
    wanted = {colour for colour, is_wanted in (("purple", purple), ("red", red)) if is_wanted}
    while True:
        scene = random_scene(random, count, colours)
        present = {shape.colour for shape in scene.shapes}
        if (
            wanted <= present
            and questions.alone_in_kind(scene)
            and questions.clearly_placed(scene)
            and questions.clearly_beside(scene)
        ):
            return scene


def study_questions(scenes: list[Scene], random: Random) -> list[dict[str, Question]]:
    """The eight questions of each scene."""
    balance: dict[str, Counter[str]] = {query_id: Counter() for query_id in ("q1", "q2", "q5", "q6", "q7")}
    return [questions_of(scene, random, balance) for scene in scenes]


def questions_of(scene: Scene, random: Random, balance: dict[str, Counter[str]]) -> dict[str, Question]:
    """The questions of one scene, choosing where there is a choice what keeps the study's answers even."""
    colours = sorted({shape.colour for shape in scene.shapes})
    there = sorted({(shape.colour, shape.kind) for shape in scene.shapes})
    apart = [pair for pair in all_pairs() if pair not in there and shares_a_part(pair, there)]
    return {
        "q0": questions.how_many_shapes(scene),
        "q1": evenly([questions.how_many_of_colour(scene, colour) for colour in colours], balance["q1"], random),
        "q2": evenly([questions.what_colour(scene, i) for i in questions.alone_in_kind(scene)], balance["q2"], random),
        "q3": questions.is_there_colour(scene, "purple"),
        "q4": questions.is_there_colour(scene, "red"),
        "q5": evenly([questions.is_there_object(scene, *pair) for pair in (*there, *apart)], balance["q5"], random),
        "q6": evenly(
            [questions.left_or_right(scene, *pair) for pair in questions.clearly_beside(scene)], balance["q6"], random
        ),
        "q7": evenly([questions.where_is(scene, i) for i in questions.clearly_placed(scene)], balance["q7"], random),
    }


def all_pairs() -> list[tuple[str, str]]:
    """Every colour and kind."""
    return [(colour, kind) for colour in COLOURS for kind in KINDS]


def shares_a_part(pair: tuple[str, str], there: list[tuple[str, str]]) -> bool:
    """Whether an absent pair is a near miss: its colour or its kind is in the scene."""
    return any(pair[0] == colour or pair[1] == kind for colour, kind in there)


def evenly(choices: list[Question], used: Counter[str], random: Random) -> Question:
    """One of the choices, among those whose answer was used least so far; counts it."""
    fewest = min(used[choice.expected_answer] for choice in choices)
    chosen = random.choice([choice for choice in choices if used[choice.expected_answer] == fewest])
    used[chosen.expected_answer] += 1
    return chosen


def object_rows(number: int, scene: Scene) -> list[dict[str, str | int]]:
    """The rows of objects.csv of one scene."""
    return [
        {
            "image": image_name(number),
            "object_id": object_id(index),
            "label": shape.kind,
            "colour": shape.colour,
            "x_min": shape.x_min,
            "y_min": shape.y_min,
            "x_max": shape.x_max,
            "y_max": shape.y_max,
            "mask": f"scene_{number:03d}_{object_id(index)}.png",
            "background": scene.background,
        }
        for index, shape in enumerate(scene.shapes)
    ]


def sample_row(number: int, query_id: str, question: Question, split: str) -> dict[str, str]:
    """The row of samples.csv of one question."""
    return {
        "sample_id": f"scene_{number:03d}-{query_id}",
        "image": image_name(number),
        "query_id": query_id,
        "query_type": question.query_type,
        "query": question.query,
        "expected_answer": question.expected_answer,
        "condition": "",
        "target_object": "+".join(object_id(index) for index in question.targets),
        "split": split,
    }


def image_name(number: int) -> str:
    """The file name of a scene's picture."""
    return f"scene_{number:03d}.png"


def object_id(index: int) -> str:
    """The id of a scene's object."""
    return f"object_{index}"


def write_table(path: Path, columns: tuple[str, ...], rows: list) -> None:
    """Write a CSV with Unix line ends."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
