"""Boxes: the images of a study with the boxes of their objects, to see whether each box is where its object is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import BOX, Study
from attention_atlas.paper.overlay import draw_boxes
from attention_atlas.paper.style import (
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    MM_PER_INCH,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILION,
    axes_at,
    house_style,
    new_figure,
)
from attention_atlas.paper.texts import text_width

MARGIN, GAP, TITLE = 2.0, 2.0, 3.6  # mm: page border, between pictures, a picture's title
LINE, CHARACTER = 2.7, 1.35  # mm: a line of text, a bold character of 6 pt
ROW_HEIGHT = 36.0  # mm that pictures side by side are high at most
MOST_PIXELS = 1200  # of a picture's longer side: more are not seen at this size
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)


@dataclass(frozen=True)
class Picture:
    """An image that is shown: its size (width, height) in pixels, its pixels, the boxes (n, 4) of each label."""

    name: str
    size: tuple[int, int]
    pixels: np.ndarray
    boxes: Mapping[str, np.ndarray]

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.size[0] / self.size[1]

    @property
    def labels(self) -> list[str]:
        """What is written of each label, in the order of the boxes: "coin × 24"."""
        return [f"{label} × {len(boxes)}" if len(boxes) > 1 else label for label, boxes in self.boxes.items()]


@house_style
def draw(study: Study, images: Iterable[str]) -> Figure:
    """The images in their own proportions, with every object's box; labels below, each in the colour of its boxes."""
    rows = [(row, row_height(row)) for row in fill_rows([read_picture(study, name) for name in images])]
    lines = [max(len(label_lines(shown, shown.aspect * height)) for shown in row) for row, height in rows]
    tops = np.cumsum([MARGIN, *(TITLE + height + n * LINE + GAP for (_, height), n in zip(rows, lines, strict=True))])
    figure = new_figure(DOUBLE_COLUMN, tops[-1], layout="none")
    for (row, height), top in zip(rows, tops, strict=False):
        left = MARGIN
        for shown in row:
            width = shown.aspect * height
            draw_picture(axes_at(figure, left, top + TITLE, width, height), shown)
            write_labels(figure, label_lines(shown, width), left, top + TITLE + height + 0.7)
            left += width + GAP
    return figure


def read_picture(study: Study, name: str) -> Picture:
    """An image of a study, made smaller where it has more pixels than are seen, with its objects' boxes by label."""
    image = read_image(study.image_path(name))
    size = image.size
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    by_label = study.objects[study.objects["image"] == name].groupby("label", sort=False)
    boxes = {str(label): rows[list(BOX)].to_numpy() for label, rows in by_label}
    return Picture(name, size, np.asarray(image), boxes)


def fill_rows(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Pictures in their order, a row ending once it fills the page's width at no more than its greatest height."""
    rows: list[list[Picture]] = []
    for shown in pictures:
        if not rows or filling_height(rows[-1]) <= ROW_HEIGHT:
            rows.append([])
        rows[-1].append(shown)
    return rows


def filling_height(row: list[Picture]) -> float:
    """How high pictures are, in mm, where they fill the page's width side by side."""
    return (DOUBLE_COLUMN - 2 * MARGIN - (len(row) - 1) * GAP) / sum(shown.aspect for shown in row)


def row_height(row: list[Picture]) -> float:
    """How high the pictures of a row are, in mm."""
    return min(filling_height(row), ROW_HEIGHT)


def draw_picture(axes: Axes, shown: Picture) -> None:
    """An image in its own pixels, with its boxes; edges are half-open, so a box ends where its `x_max` begins."""
    width, height = shown.size
    axes.imshow(shown.pixels, extent=(0, width, height, 0), aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(f"{shown.name}, {width} × {height}", loc="left", fontsize=SMALL, pad=2)
    for order, boxes in enumerate(shown.boxes.values()):
        draw_boxes(axes, boxes, COLOURS[order % len(COLOURS)], 0.7, 1.5)


def label_lines(shown: Picture, width: float) -> list[list[tuple[str, str]]]:
    """A picture's labels, each with its colour, in lines that `width` mm hold."""
    lines: list[list[tuple[str, str]]] = []
    free = 0.0
    for order, label in enumerate(shown.labels):
        needed = (text_width(label) + 2) * CHARACTER
        if not lines or needed > free:
            lines, free = [*lines, []], width
        lines[-1].append((label, COLOURS[order % len(COLOURS)]))
        free -= needed
    return lines


def write_labels(figure: Figure, lines: list[list[tuple[str, str]]], left: float, top: float) -> None:
    """Lines of coloured labels from a place in mm from the page's upper left corner."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    for number, line in enumerate(lines):
        at = left
        for label, colour in line:
            place = at / width, 1 - (top + number * LINE) / height
            figure.text(*place, label, fontsize=SMALL, color=colour, va="top", weight="bold")
            at += (text_width(label) + 2) * CHARACTER
