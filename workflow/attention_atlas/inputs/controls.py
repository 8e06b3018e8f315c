"""Control conditions: what else is asked of which picture, as rows made from any study's tables."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from attention_atlas.config import Controls
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.conditions import RANDOM_WEIGHTS
from attention_atlas.inputs.shards import EXTRACTED_COLUMNS
from attention_atlas.inputs.study import Study
from attention_atlas.inputs.twins import control_objects
from attention_atlas.inputs.views import of_one_image

Row = Mapping[Any, str]


def donors(images: Iterable[str], number: int, seed: int) -> dict[str, tuple[str, ...]]:
    """The other images that each image's questions are asked of: those that follow it on a ring in random order.

    Each image serves as often as any other, and one image more changes the draw of `number` images alone.
    """
    ring = sorted(set(images), key=lambda image: hashlib.sha256(f"{seed} {image}".encode()).digest())
    number = min(number, len(ring) - 1)
    return {
        image: tuple(ring[(place + step) % len(ring)] for step in range(1, number + 1))
        for place, image in enumerate(ring)
    }


def control_rows(study: Study, controls: Controls, others: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """The control samples of a study, or of its part on some images, as rows of what the extraction reads, by image."""
    places = study.objects.groupby("image", sort=False).indices
    for image, samples in of_one_image(study.samples[study.samples["condition"] == ""]).groupby("image", sort=False):
        there = study.objects.iloc[places.get(image, [])]
        for condition in controls.conditions:
            if condition == "generic":
                yield control(samples.iloc[0], condition, str(image), controls.generic_query)
            elif condition != RANDOM_WEIGHTS:
                for _, sample in samples.iterrows():
                    yield from controls_of(sample, condition, controls, there, others)


def controls_of(
    sample: pd.Series, condition: str, controls: Controls, objects: pd.DataFrame, others: Mapping[str, Sequence[str]]
) -> Iterator[Row]:
    """The controls of one sample in one condition: none where it has no target, or no paraphrase is known."""
    image, query = sample["image"], sample["query"]
    targets = sample["target_object"].split("+") if sample["target_object"] else []
    if condition == "blank":
        yield control(sample, condition, f"blank:{image}", query)
    elif condition == "other_image":
        for number, other in enumerate(others.get(image, ()), start=1):
            yield control(sample, condition, f"like:{image}:{other}", query, number)
    elif condition == "paraphrase":
        wording = paraphrased(query, controls.paraphrases)
        if wording is not None:
            yield control(sample, condition, image, wording)
    elif targets:
        gone = targets if condition == "twin" else control_objects(objects, targets)
        if gone:
            yield control(sample, condition, f"without:{image}:{'+'.join(gone)}", query)


def control(sample: pd.Series, condition: str, image: str, query: str, number: int = 0) -> Row:
    """The row of one control."""
    name = f"{sample['sample_id']}.{condition}" + (f".{number}" if number else "")
    about = {"sample_id": name, "image": image, "query": query, "condition": condition}
    return {column: about.get(column, sample[column]) for column in EXTRACTED_COLUMNS}


def paraphrased(query: str, paraphrases: Mapping[str, str]) -> str | None:
    """The other wording of a query by the expression that matches all of it; None where none does.

    Raises AtlasError where several do: which was meant must not hang on their order.
    """
    found = {expression: match for expression in paraphrases if (match := re.fullmatch(expression, query))}
    if len(found) > 1:
        raise AtlasError(
            f"controls.paraphrases: {query!r} is matched by {' and '.join(map(repr, sorted(found)))}; "
            "make them exclusive"
        )
    return next((match.expand(paraphrases[expression]) for expression, match in found.items()), None)


def rows_with_random_weights(rows: Iterable[Row]) -> list[Row]:
    """A shard's own rows as those of the condition random_weights."""
    return [
        {
            **{column: row[column] for column in EXTRACTED_COLUMNS},
            "sample_id": f"{row['sample_id']}.{RANDOM_WEIGHTS}",
            "condition": RANDOM_WEIGHTS,
        }
        for row in rows
        if not row["condition"]
    ]


def digest(part: Study, others: Mapping[str, Sequence[str]]) -> str:
    """A hash of what the control samples of a part of a study depend on beside the settings and the pictures.

    Objects on images that the part asks nothing about must not be in it.
    """
    read = [
        rows_as_text(part.samples[[*EXTRACTED_COLUMNS, "target_object"]]),
        rows_as_text(part.objects.drop(columns=["line", "label", "colour"])),
        {image: others.get(image, ()) for image in sorted(set(part.samples["image"].tolist()))},
    ]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]


def rows_as_text(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """The rows of a table as texts."""
    return list(zip(*(map(str, table[column].tolist()) for column in table), strict=True))
