"""Perturbations of a sample: its picture painted over in many ways, and sets of its cells. NumPy, no model.

Pixels are (height, width, 3), 0 to 255; masks are (height, width) booleans. Cells and regions are equal parts of the
original picture, their borders rounded to whole pixels. All that is random depends on the seed and the sample alone.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attention_atlas.cells import cell_edges
from attention_atlas.config import Causal
from attention_atlas.inputs.causal_samples import Subject
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.painting import background_colour, object_mask, union, without_objects
from attention_atlas.inputs.study import Study
from attention_atlas.inputs.twins import control_objects

# Places that are drawn for one region of the target's size; the first that leaves the target free is taken.
DRAWS = 100
# A place that meets more of the target than this share of it is no control: it is not used.
MOST_OVERLAP = 0.1


@dataclass(frozen=True)
class Picture:
    """An original picture with its objects: their rows of objects.csv and, by id, their pixels."""

    pixels: np.ndarray
    objects: pd.DataFrame
    masks: dict[str, np.ndarray]

    def mask_of(self, names: Iterable[str]) -> np.ndarray:
        """The pixels of any of the objects named."""
        return union([self.masks[name] for name in names], *self.pixels.shape[:2])

    @property
    def background(self) -> np.ndarray:
        """The median colour, (3,), outside of all objects."""
        return background_colour(self.pixels, self.mask_of(self.masks))


@dataclass(frozen=True)
class Perturbed:
    """One perturbed picture; `kind` and `index` say which perturbation it is (methods, causal checks)."""

    kind: str
    index: int
    pixels: np.ndarray


def read_picture(study: Study, image: str) -> Picture:
    """An image of a study with its objects. Raises AtlasError where it cannot be read."""
    pixels = np.asarray(read_image(study.image_path(image)))
    objects = study.objects[study.objects["image"] == image]
    height, width = pixels.shape[:2]
    masks = {row["object_id"]: object_mask(study.folder, row, height, width) for row in objects.to_dict("records")}
    return Picture(pixels, objects, masks)


def perturbed_pictures(
    picture: Picture, subject: Subject, grid: tuple[int, int], causal: Causal
) -> Iterator[Perturbed]:
    """The picture itself (`none`) and every perturbed one of the checks that the settings name, one by one.

    `grid` is the sample's token grid (rows, cols), whose cells `subject.order` numbers row by row.
    """
    yield Perturbed("none", 0, picture.pixels)
    if "occlusion" in causal.checks:
        yield from occlusions(picture, causal.regions)
    if "deletion" in causal.checks:
        yield from deletions(picture, subject, grid, causal)
    if "counterfactual" in causal.checks and subject.targets:
        yield from counterfactuals(picture, subject, causal)


def occlusions(picture: Picture, regions: tuple[int, int]) -> Iterator[Perturbed]:
    """Each region of the picture painted over; index = its place row by row."""
    place, colour = part_of_pixel(regions, *picture.pixels.shape[:2]), picture.background
    for region in range(regions[0] * regions[1]):
        yield Perturbed("occlusion", region, painted(picture.pixels, place == region, colour))


def deletions(picture: Picture, subject: Subject, grid: tuple[int, int], causal: Causal) -> Iterator[Perturbed]:
    """More and more cells painted over, and fewer and fewer: in the order of the map, then in random orders.

    Step k = 1 ... K deletes the first round(k N / K) cells; insertion shows them alone (k < K: at K nothing is
    painted). Index = k, in random order number r: r K + k, the same orders for both.
    """
    place, colour = part_of_pixel(grid, *picture.pixels.shape[:2]), picture.background
    cells, steps = len(subject.order), causal.steps
    rng = generator(causal.seed, subject.sample_id, "random_order")
    orders = [("", 0, subject.order)]
    orders += [("_random", number * steps, rng.permutation(cells)) for number in range(causal.random_orders)]
    for ending, first, order in orders:
        rank = np.argsort(order)[place]
        for step in range(1, steps + 1):
            gone = rank < round(step * cells / steps)
            yield Perturbed(f"deletion{ending}", first + step, painted(picture.pixels, gone, colour))
            if step < steps:
                yield Perturbed(f"insertion{ending}", first + step, painted(picture.pixels, ~gone, colour))


def counterfactuals(picture: Picture, subject: Subject, causal: Causal) -> Iterator[Perturbed]:
    """The twin without the targets, its control without other objects, and random regions of the target's shape."""
    yield Perturbed("twin", 0, twin(picture, subject.targets))
    others = control_objects(picture.objects, list(subject.targets))
    if others is not None:
        yield Perturbed("control_twin", 0, twin(picture, others))
    target, colour = picture.mask_of(subject.targets), picture.background
    rng = generator(causal.seed, subject.sample_id, "random_region")
    for number in range(1, causal.random_regions + 1):
        elsewhere = moved(target, rng)
        if (elsewhere & target).sum() <= MOST_OVERLAP * target.sum():
            yield Perturbed("random_region", number, painted(picture.pixels, elsewhere, colour))


def twin(picture: Picture, names: Iterable[str]) -> np.ndarray:
    """The picture with objects painted over, each with the colour around it."""
    masks = [picture.masks[name] for name in names]
    return without_objects(picture.pixels, masks, picture.mask_of(picture.masks))


def knocked_out_cells(subject: Subject, causal: Causal) -> np.ndarray:
    """The target set, then random sets of as many cells: (1 + random_sets, cells) booleans."""
    cells = np.tile(subject.target_cells, (causal.random_sets, 1))
    random = generator(causal.seed, subject.sample_id, "knockout").permuted(cells, axis=1)
    return np.vstack([subject.target_cells, random])


def part_of_pixel(grid: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Which of rows x cols equal parts, numbered row by row, each pixel belongs to: (height, width)."""
    rows, cols = grid
    row, col = (
        np.repeat(np.arange(parts), np.diff(np.rint(cell_edges(parts, pixels)).astype(int)))
        for parts, pixels in ((rows, height), (cols, width))
    )
    return row[:, None] * cols + col


def painted(pixels: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Pixels with one colour wherever the mask is set."""
    covered = pixels.copy()
    covered[mask] = colour
    return covered


def moved(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask at a random place of the picture that leaves the mask's own pixels free.

    Of `DRAWS` whole-pixel shifts that keep it inside, the first without overlap, else the first of least overlap.
    """
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    shape = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    height, width = shape.shape
    last = np.subtract(mask.shape, shape.shape)
    corners = rng.integers(0, last, size=(DRAWS, 2), endpoint=True)

    def overlap(corner: np.ndarray) -> int:
        top, left = corner
        return int(np.count_nonzero(mask[top : top + height, left : left + width] & shape))

    top, left = min(corners, key=overlap)
    found = np.zeros_like(mask)
    found[top : top + height, left : left + width] = shape
    return found


def generator(seed: int, sample_id: str, kind: str) -> np.random.Generator:
    """Random numbers of one kind of perturbation of one sample."""
    digest = hashlib.sha256(f"{seed} {sample_id} {kind}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))
