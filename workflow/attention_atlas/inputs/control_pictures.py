"""The pictures of control conditions, made from a study's images by their names (see `inputs.conditions`)."""

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from PIL import Image

from attention_atlas.inputs import painting
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import Study
from attention_atlas.provenance import file_sha256


def picture(study: Study, name: str) -> tuple[Image.Image, str]:
    """The picture of a name, RGB, with a hash: that of its file, or of its pixels where it was made.

    An other image that has the size already is that image itself.
    """
    kind, _, rest = name.partition(":")
    if kind == "like":
        first, other = rest.split(":")
        made, size = read_image(study.image_path(other)), read_image(study.image_path(first)).size
        if made.size == size:
            return picture(study, other)
        made = made.resize(size, Image.Resampling.BICUBIC)
    elif kind in MADE:
        made = MADE[kind](study, rest)
    else:
        return read_image(study.image_path(name)), file_sha256(study.image_path(name))
    return made, hashlib.sha256(f"{made.size} ".encode() + made.tobytes()).hexdigest()


def blank(study: Study, image: str) -> Image.Image:
    """A picture of one colour: that of the image's background."""
    pixels = np.asarray(read_image(study.image_path(image)))
    colour = painting.background_colour(pixels, all_objects(study, image, pixels))
    return Image.new("RGB", (pixels.shape[1], pixels.shape[0]), tuple(int(value) for value in colour))


def without(study: Study, rest: str) -> Image.Image:
    """An image with objects painted over."""
    image, _, gone = rest.rpartition(":")
    pixels = np.asarray(read_image(study.image_path(image)))
    rows = objects_of(study, image).set_index("object_id", drop=False).loc[gone.split("+")]
    masks = [painting.object_mask(study.folder, row, *pixels.shape[:2]) for row in rows.to_dict("records")]
    return Image.fromarray(painting.without_objects(pixels, masks, all_objects(study, image, pixels)))


MADE: dict[str, Callable[[Study, str], Image.Image]] = {"blank": blank, "without": without}


def objects_of(study: Study, image: str) -> pd.DataFrame:
    """The objects of an image."""
    return study.objects[study.objects["image"] == image]


def all_objects(study: Study, image: str, pixels: np.ndarray) -> np.ndarray:
    """The pixels of any object of an image."""
    size = pixels.shape[:2]
    rows = objects_of(study, image).to_dict("records")
    return painting.union((painting.object_mask(study.folder, row, *size) for row in rows), *size)
