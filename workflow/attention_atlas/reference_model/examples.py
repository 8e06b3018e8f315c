"""Training examples: fresh scenes, and questions of every kind about each, with balanced answers."""

from collections.abc import Iterator
from random import Random

from attention_atlas.inputs import questions
from attention_atlas.inputs.questions import Question
from attention_atlas.inputs.scenes import COLOURS, KINDS, Scene, random_scene

# How often each kind of question is asked of one scene, where it can be asked at all.
MIX = {"q0": 2, "q1": 4, "q2": 3, "q3": 3, "q5": 4, "q6": 3, "q7": 5}
QUESTIONS_PER_SCENE = sum(MIX.values())
FEWEST, MOST = 2, 6
FEWEST_COLOURS = 2


def training_scene(random: Random) -> Scene:
    """A scene as the study has them, half of the time of few colours: else hardly any colour would occur thrice."""
    colours = tuple(COLOURS)
    if random.random() < 0.5:
        colours = tuple(random.sample(colours, random.randint(FEWEST_COLOURS, len(colours) - 2)))
    return random_scene(random, random.randint(FEWEST, MOST), colours)


def training_questions(scene: Scene, random: Random) -> list[Question]:
    """`QUESTIONS_PER_SCENE` questions in random wordings; kinds that this scene does not allow give way to others."""
    asked = [
        question
        for query_id, times in MIX.items()
        for _ in range(times)
        if (question := ask(query_id, scene, random, random.randrange(questions.NUM_WORDINGS))) is not None
    ]
    while len(asked) < QUESTIONS_PER_SCENE:
        question = ask(random.choice(list(MIX)), scene, random, random.randrange(questions.NUM_WORDINGS))
        if question is not None:
            asked.append(question)
    return asked


def ask(query_id: str, scene: Scene, random: Random, wording: int = 0) -> Question | None:
    """One question of a kind with its subject drawn so that answers are balanced; None where the scene allows none."""
    match query_id:
        case "q0":
            return questions.how_many_shapes(scene, wording)
        case "q1":
            return questions.how_many_of_colour(scene, a_colour_by_count(scene, random), wording)
        case "q2":
            alone = questions.alone_in_kind(scene)
            return questions.what_colour(scene, random.choice(alone), wording) if alone else None
        case "q3" | "q4":
            return questions.is_there_colour(scene, a_colour(scene, random), wording)
        case "q5":
            return questions.is_there_object(scene, *a_colour_and_kind(scene, random), wording)
        case "q6":
            pairs = questions.clearly_beside(scene)
            return questions.left_or_right(scene, *random.choice(pairs), wording) if pairs else None
        case "q7":
            placed = questions.clearly_placed(scene)
            return questions.where_is(scene, random.choice(placed), wording) if placed else None
    raise ValueError(f"unknown query id {query_id!r}")


def a_colour(scene: Scene, random: Random) -> str:
    """A colour that is there, or one that is not, equally often."""
    present = {shape.colour for shape in scene.shapes}
    absent = [colour for colour in COLOURS if colour not in present]
    return random.choice(sorted(present)) if random.random() < 0.5 or not absent else random.choice(absent)


def a_colour_by_count(scene: Scene, random: Random) -> str:
    """A colour that occurs a certain number of times, each number that occurs (none included) equally often."""
    by_count: dict[int, list[str]] = {}
    for colour in COLOURS:
        by_count.setdefault(len(questions.with_colour(scene, colour)), []).append(colour)
    return random.choice(by_count[random.choice(sorted(by_count))])


def a_colour_and_kind(scene: Scene, random: Random) -> tuple[str, str]:
    """A colour and kind that are there together, or are not, equally often; half of the latter are there apart."""
    there = {(shape.colour, shape.kind) for shape in scene.shapes}
    if random.random() < 0.5:
        return random.choice(sorted(there))
    colours, kinds = ({pair[part] for pair in there} for part in (0, 1))
    apart = sorted((colour, kind) for colour in colours for kind in kinds if (colour, kind) not in there)
    if apart and random.random() < 0.5:
        return random.choice(apart)
    return random.choice([(c, k) for c in COLOURS for k in KINDS if (c, k) not in there])


def sentences(seed: int = 0, scenes: int = 400) -> Iterator[str]:
    """The language of the questions and answers, for the tokenizer to learn its words from."""
    random = Random(seed)
    for _ in range(scenes):
        for question in training_questions(training_scene(random), random):
            yield f"{question.query} {question.answer} {question.detail}"
