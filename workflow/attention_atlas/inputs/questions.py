"""Questions about a scene of shapes, with their answers, expected values and targets.

Each asks for what the scene determines without doubt; who asks chooses what to ask about. The first wording of a
question is the study's, the others are for training. A target is the index of a shape in the scene.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from attention_atlas.inputs.scenes import SIZE, Scene, Shape

CLEAR_OF_BORDER = 24
CLEARLY_BESIDE = 60
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
WORDINGS = {
    "q0": ("How many shapes are in the image?", "How many shapes are there?", "Count the shapes in the picture."),
    "q1": (
        "How many {colour} shapes are in the image?",
        "How many {colour} shapes are there?",
        "Count the {colour} shapes in the picture.",
    ),
    "q2": ("What colour is the {kind}?", "Which colour does the {kind} have?", "Name the colour of the {kind}."),
    "q3": (
        "Is there {a_colour} shape in the image?",
        "Does the image show {a_colour} shape?",
        "Can you see {a_colour} shape in the picture?",
    ),
    "q5": (
        "Is there {a_colour} {kind} in the image?",
        "Does the image show {a_colour} {kind}?",
        "Can you see {a_colour} {kind} in the picture?",
    ),
    "q6": (
        "Is the {first} to the left or to the right of the {second}?",
        "On which side of the {second} is the {first}, left or right?",
    ),
    "q7": ("Where is the {object}?", "In which place is the {object}?", "Where can you see the {object}?"),
}
NUM_WORDINGS = max(map(len, WORDINGS.values()))


@dataclass(frozen=True)
class Question:
    """A question of a scene; `detail` is what a longer answer would add, for training."""

    query_type: str
    query: str
    answer: str
    expected_answer: str
    targets: tuple[int, ...]
    detail: str = ""


def wording(query_id: str, number: int, **parts: str) -> str:
    """Wording `number` of a question, counted round where it has fewer."""
    choices = WORDINGS[query_id]
    return choices[number % len(choices)].format(**parts)


def how_many_shapes(scene: Scene, number: int = 0) -> Question:
    """How many shapes a scene has."""
    everything = tuple(range(len(scene.shapes)))
    return Question(
        query_type="counting",
        query=wording("q0", number),
        answer=there_are(len(everything), "shape"),
        expected_answer=str(len(everything)),
        targets=everything,
    )


def how_many_of_colour(scene: Scene, colour: str, number: int = 0) -> Question:
    """How many shapes of one colour a scene has."""
    found = with_colour(scene, colour)
    return Question(
        query_type="counting",
        query=wording("q1", number, colour=colour),
        answer=there_are(len(found), f"{colour} shape"),
        expected_answer=str(len(found)),
        targets=found,
        detail=listing(scene, found),
    )


def what_colour(scene: Scene, index: int, number: int = 0) -> Question:
    """What colour the one shape of its kind has."""
    shape = scene.shapes[index]
    return Question(
        query_type="attribute",
        query=wording("q2", number, kind=shape.kind),
        answer=f"The {shape.kind} is {shape.colour}.",
        expected_answer=shape.colour,
        targets=(index,),
        detail=listing(scene, (index,)),
    )


def is_there_colour(scene: Scene, colour: str, number: int = 0) -> Question:
    """Whether a scene has a shape of a colour."""
    query = wording("q3", number, a_colour=with_article(colour))
    return presence(scene, query, f"{colour} shape", with_colour(scene, colour))


def is_there_object(scene: Scene, colour: str, kind: str, number: int = 0) -> Question:
    """Whether a scene has a shape of a colour and kind."""
    found = tuple(index for index in with_colour(scene, colour) if scene.shapes[index].kind == kind)
    query = wording("q5", number, a_colour=with_article(colour), kind=kind)
    return presence(scene, query, f"{colour} {kind}", found)


def presence(scene: Scene, query: str, thing: str, found: tuple[int, ...]) -> Question:
    """The question whether `thing` is there, answered by what was found."""
    answer = f"Yes, there is {with_article(thing)}." if found else f"No, there is no {thing}."
    return Question("recognition", query, answer, "yes" if found else "no", found, listing(scene, found))


def left_or_right(scene: Scene, first: int, second: int, number: int = 0) -> Question:
    """On which side of the second shape the first one is."""
    a, b = scene.shapes[first], scene.shapes[second]
    side = "left" if a.centre[0] < b.centre[0] else "right"
    return Question(
        query_type="spatial",
        query=wording("q6", number, first=name(a), second=name(b)),
        answer=f"It is to the {side}.",
        expected_answer=side,
        targets=(first, second),
        detail=listing(scene, (first, second)),
    )


def where_is(scene: Scene, index: int, number: int = 0) -> Question:
    """In which of nine places of the picture a shape is."""
    shape = scene.shapes[index]
    return Question(
        query_type="spatial",
        query=wording("q7", number, object=name(shape)),
        answer=f"It is at the {place(shape)}.",
        expected_answer=place(shape),
        targets=(index,),
    )


def there_are(count: int, thing: str) -> str:
    """The sentence that counts things."""
    return f"There is 1 {thing}." if count == 1 else f"There are {count} {thing}s."


def with_article(thing: str) -> str:
    """A thing with its indefinite article."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def name(shape: Shape) -> str:
    """A shape by its colour and kind."""
    return f"{shape.colour} {shape.kind}"


def place(shape: Shape) -> str:
    """The place of a shape's centre in a grid of three by three: "top left", "top", ..., "centre", ...."""
    x, y = shape.centre
    words = f"{ROWS[int(y * 3 // SIZE)]} {COLUMNS[int(x * 3 // SIZE)]}".strip()
    return words or "centre"


def listing(scene: Scene, indices: Iterable[int]) -> str:
    """Shapes with their places, as a phrase: "circle top left, star right"."""
    return ", ".join(f"{name(scene.shapes[i])} {place(scene.shapes[i])}" for i in indices)


def with_colour(scene: Scene, colour: str) -> tuple[int, ...]:
    """The shapes of a colour."""
    return tuple(index for index, shape in enumerate(scene.shapes) if shape.colour == colour)


def alone_in_kind(scene: Scene) -> list[int]:
    """The shapes whose kind occurs once."""
    kinds = Counter(shape.kind for shape in scene.shapes)
    return [index for index, shape in enumerate(scene.shapes) if kinds[shape.kind] == 1]


def alone_in_name(scene: Scene) -> list[int]:
    """The shapes whose colour and kind together occur once."""
    names = Counter(map(name, scene.shapes))
    return [index for index, shape in enumerate(scene.shapes) if names[name(shape)] == 1]


def clearly_placed(scene: Scene) -> list[int]:
    """The shapes of one name whose centre is clear of the borders between places."""
    borders = (SIZE / 3, 2 * SIZE / 3)
    return [
        index
        for index in alone_in_name(scene)
        if all(abs(at - border) >= CLEAR_OF_BORDER for at in scene.shapes[index].centre for border in borders)
    ]


def clearly_beside(scene: Scene) -> list[tuple[int, int]]:
    """Ordered pairs of shapes of one name each, whose centres differ enough in x to say left or right."""
    alone = alone_in_name(scene)
    return [
        (a, b)
        for a in alone
        for b in alone
        if abs(scene.shapes[a].centre[0] - scene.shapes[b].centre[0]) >= CLEARLY_BESIDE
    ]
