"""Query templates: which questions are asked of an annotated image, with their answers and targets."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from attention_atlas.config import Name, Section, checked
from attention_atlas.errors import AtlasError, nearest
from attention_atlas.inputs.answers import canonical, nearest_answer
from attention_atlas.inputs.files import composed
from attention_atlas.inputs.questions import with_article
from attention_atlas.reading import shown
from attention_atlas.yaml_reading import load_yaml

PLACEHOLDERS = {
    "image": ("count",),
    "label": ("label", "plural", "a_label", "count"),
    "object": ("label", "a_label", "colour"),
}
TARGETS = {"image": ("all", "none"), "label": ("label", "all", "none"), "object": ("object", "label", "all", "none")}


def plain_label(value: Any) -> Any:
    """A text without spaces around it or doubled in it, its letters in the composed Unicode form."""
    return " ".join(composed(value).split()) if isinstance(value, str) else value


Label = Annotated[str, BeforeValidator(plain_label)]


class Template(Section):
    """One entry of the queries file; what an entry may hold is said in docs/studies.md."""

    query_id: Name
    query_type: str
    query: str
    for_each: Literal["image", "label", "object"] = "image"
    labels: tuple[Label, ...] = ()
    expected_answer: str = ""
    target: Literal["all", "label", "object", "none"] | None = None
    absent: bool = False
    most_per_image: int | None = Field(None, ge=1)
    plurals: dict[Label, str] = Field(default_factory=dict)

    @property
    def aims_at(self) -> str:
        """What the target is: as said, else nothing where a thing is absent, else what the question is for."""
        return self.target or ("none" if self.absent else TARGETS[self.for_each][0])

    @property
    def answer(self) -> str:
        """The template of the expected answer: as said, else "no" where a thing is absent."""
        return self.expected_answer or ("no" if self.absent else "")

    @property
    def placeholders(self) -> set[str]:
        """The placeholders of the query and its expected answer."""
        return placeholders(self.query) | placeholders(self.answer)

    @model_validator(mode="after")
    def placeholders_are_known(self) -> Self:
        """Refuse a placeholder that such a question has no value for."""
        known = PLACEHOLDERS[self.for_each]
        for name in sorted(self.placeholders):
            if name not in known:
                raise ValueError(
                    f"unknown placeholder {{{name[:100]}}} for_each {self.for_each}.{nearest(name, list(known))}"
                )
        return self

    @model_validator(mode="after")
    def target_fits(self) -> Self:
        """Refuse targets that such a question does not have."""
        if self.aims_at not in TARGETS[self.for_each]:
            raise ValueError(
                f"target {self.aims_at!r} for_each {self.for_each}; give {', '.join(TARGETS[self.for_each])}"
            )
        if self.absent and (self.for_each == "object" or self.aims_at != "none"):
            raise ValueError("absent: true asks for what is not there; use for_each image or label, and no target")
        if self.absent and self.for_each == "image" and not self.labels:
            raise ValueError("absent: true for_each image needs the labels that are not there")
        return self


class Templates(Section):
    """The whole queries file."""

    queries: tuple[Template, ...] = Field(min_length=1)


@dataclass(frozen=True)
class AnnotatedObject:
    """An object of an image; the box is x_min, y_min, x_max, y_max in pixels."""

    object_id: str
    label: str
    colour: str
    box: tuple[float, float, float, float]
    is_crowd: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """What is known of an image.

    `uncounted` has the labels whose number is not known, `incomplete` those with more in the image than the objects.
    """

    name: str
    objects: tuple[AnnotatedObject, ...]
    uncounted: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()

    @property
    def labels(self) -> set[str]:
        """Every label that the image shows."""
        return {one.label for one in self.objects} | self.incomplete

    def of_labels(self, labels: Sequence[str]) -> tuple[AnnotatedObject, ...]:
        """The objects of some labels."""
        return tuple(one for one in self.objects if one.label in labels)


@dataclass(frozen=True)
class Case:
    """What one question is about: the label and object it names, the labels it is about, and their objects."""

    scope: tuple[str, ...]
    found: tuple[AnnotatedObject, ...]
    label: str = ""
    object: AnnotatedObject | None = None


def read_templates(path: Path) -> tuple[Template, ...]:
    """The entries of a queries file, listing every problem with the nearest valid name."""
    content = load_yaml(path)
    if not isinstance(content, list):
        raise AtlasError(f"{path}: must hold a list of queries, each with query_id, query_type and query")
    return checked(Templates, {"queries": content}, path).queries


def placeholders(text: str) -> set[str]:
    """The names in braces of a text; braces are written {{ and }}. Raises ValueError where they do not match."""
    parts = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    odd = [name for name, spec, conversion in parts if spec or conversion]
    if odd:
        raise ValueError(f"write the placeholder {{{odd[0][:100]}}} without ':' and '!'")
    return {name for name, _, _ in parts}


def check_templates(
    templates: Sequence[Template], query_types: Mapping[str, Any], labels: Sequence[str]
) -> Iterator[str]:
    """What is wrong with templates for these query types and labels."""
    first: dict[tuple[str, bool], int] = {}
    for number, template in enumerate(templates, start=1):
        here = f"query {number} ({template.query_id})"
        same = first.setdefault((template.query_id, template.absent), number)
        if same != number:
            yield f"{here}: query {same} has this query_id too; only a question and its absent: true may share one"
        for label in (*template.labels, *template.plurals):
            if label not in labels:
                yield f"{here}: unknown label {shown(label)}.{nearest(label, list(labels))}"
        if template.query_type not in query_types:
            known = list(query_types)
            yield f"{here}: unknown query_type {shown(template.query_type)}.{nearest(template.query_type, known)}"
            continue
        query_type = query_types[template.query_type]
        if query_type["needs_target"] and template.aims_at == "none":
            yield f"{here}: query type {template.query_type!r} needs a target"
        fixed = template.answer and not placeholders(template.answer)
        if fixed and canonical(template.answer, query_type["answers"]) is None:
            hint = nearest_answer(template.answer, query_type["answers"])
            yield f"{here}: {shown(template.answer)} is no answer of {template.query_type!r}.{hint}"


def ask(
    template: Template, image: AnnotatedImage, labels: Sequence[str], answers: Mapping[str, Any], random: Random
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The questions of one template about one image, and how many were left out, by reason.

    A question has query, expected_answer, target_object, and the `label` and `object_id` it is about (may be empty).
    `labels` are all there are, `answers` the vocabulary of the query type. Where there are more questions than
    `most_per_image`, that many are drawn.
    """
    left_out: Counter[str] = Counter()
    questions = []
    for case in cases(template, image, labels):
        reason = why_not(template, image, case, answers)
        if reason:
            left_out[f"questions of {template.query_id} left out: {reason}"] += 1
        else:
            questions.append(question(template, image, case))
    most = template.most_per_image
    if most is not None and len(questions) > most:
        left_out[f"questions of {template.query_id} left out: beyond most_per_image"] += len(questions) - most
        questions = [questions[place] for place in sorted(random.sample(range(len(questions)), most))]
    return questions, left_out


def cases(template: Template, image: AnnotatedImage, labels: Sequence[str]) -> list[Case]:
    """What a template can ask about in an image: what is there, or, where it asks for the absent, what is not."""
    scope = tuple(label for label in labels if label in template.labels or not template.labels)
    if template.for_each == "image":
        there = bool(image.labels.intersection(scope))
        return [Case(scope, image.of_labels(scope))] if there != template.absent else []
    if template.for_each == "label":
        fitting = [label for label in scope if (label in image.labels) != template.absent]
        return [Case((label,), image.of_labels([label]), label) for label in fitting]
    return [Case((one.label,), image.of_labels([one.label]), one.label, one) for one in image.of_labels(scope)]


def why_not(template: Template, image: AnnotatedImage, case: Case, answers: Mapping[str, Any]) -> str:
    """Why a question cannot be asked, empty where it can."""
    names = template.placeholders
    if "count" in names and image.uncounted.intersection(case.scope):
        return "a crowd, or a box without area, leaves the number open"
    if case.object is not None and case.object.is_crowd:
        return "the object is a crowd"
    if case.object is not None and names & {"label", "a_label"} and not alone(image, case.label):
        return "the object is not the only one of its label"
    if case.object is not None and "colour" in names and not case.object.colour:
        return "the object has no colour"
    if image.incomplete.intersection(target_labels(template, image, case)):
        return "a crowd, or a box without area, would be missing from the target"
    if template.answer and canonical(template.answer.format(**values(template, case)), answers) is None:
        return f"the answer is not in the vocabulary of {template.query_type}"
    return ""


def alone(image: AnnotatedImage, label: str) -> bool:
    """Whether an image has one object of a label, for certain."""
    return len(image.of_labels([label])) == 1 and label not in image.uncounted


def target_labels(template: Template, image: AnnotatedImage, case: Case) -> set[str]:
    """The labels all of whose objects a question's target is to hold."""
    if template.aims_at == "all":
        return set(template.labels) or image.labels
    return {case.label} if template.aims_at == "label" else set()


def question(template: Template, image: AnnotatedImage, case: Case) -> dict[str, Any]:
    """A question with its answer and target."""
    if template.aims_at == "object" and case.object is not None:
        targets: tuple[AnnotatedObject, ...] = (case.object,)
    else:
        targets = image.of_labels(tuple(target_labels(template, image, case)))
    parts = values(template, case)
    return {
        "query": template.query.format(**parts),
        "expected_answer": template.answer.format(**parts),
        "target_object": "+".join(one.object_id for one in targets),
        "label": case.label,
        "object_id": case.object.object_id if case.object else "",
    }


def values(template: Template, case: Case) -> dict[str, str]:
    """What stands for each placeholder."""
    return {
        "label": case.label,
        "plural": template.plurals.get(case.label, f"{case.label}s"),
        "a_label": with_article(case.label) if case.label else "",
        "colour": case.object.colour if case.object else "",
        "count": str(len(case.found)),
    }
