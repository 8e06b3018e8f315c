"""Views: a sample about several images is one question, and has a map on each of its images.

The column `image` of samples.csv names them in the order in which the model sees them, joined by "|". The map on the
first goes by the sample's own id, that on the second by "<sample>.image_2", and so do their queries: a table by query
has a row for each place of an image.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from attention_atlas.inputs.conditions import source_of

SEPARATOR = "|"


def images_of(image: str) -> list[str]:
    """The images that a row of samples.csv names."""
    return image.split(SEPARATOR)


def all_images(named: Iterable[str]) -> set[str]:
    """The images that rows of samples.csv name."""
    return {image for several in set(named) for image in images_of(several)}


def view_id(name: str, number: int) -> str:
    """How a sample, or a query, is called where it is about the map on its `number`-th image."""
    return name if number == 1 else f"{name}.image_{number}"


def view_of(sample_id: str, condition: str, number: int) -> str:
    """The same for a sample of any condition, whose name ends in it."""
    source = source_of(sample_id, condition)
    return view_id(source, number) + sample_id[len(source) :]


def of_one_image(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples that are about a single image."""
    return samples[~samples["image"].str.contains(SEPARATOR, regex=False)]


def views(samples: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """A row for each image of each sample: its own ids and image, and as targets those that are objects of it."""
    if len(of_one_image(samples)) == len(samples):
        return samples
    there = objects.groupby("image")["object_id"].agg(set).to_dict()
    rows = [
        {
            **sample,
            "sample_id": view_of(sample["sample_id"], sample["condition"], number),
            "query_id": view_id(sample["query_id"], number),
            "image": image,
            "target_object": "+".join(found(sample["target_object"].split("+"), there.get(image, ()))),
        }
        for sample in samples.to_dict("records")
        for number, image in enumerate(images_of(sample["image"]), start=1)
    ]
    return pd.DataFrame(rows, columns=samples.columns)


def found(targets: Sequence[str], there: Iterable[str]) -> list[str]:
    """The targets that are there, in their order."""
    known = set(there)
    return [target for target in targets if target in known]
