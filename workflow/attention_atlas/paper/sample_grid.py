"""Sample grid: samples side by side, each as its image with the target and as one map over the image, with texts."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from attention_atlas.paper import overlay
from attention_atlas.paper.overlay import Selected
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    MM_PER_INCH,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    SMALL,
    axes_at,
    new_figure,
)
from attention_atlas.paper.texts import wrapped

MARGIN, GAP, GUTTER = 2.0, 1.0, 5.0  # mm: page border, between image and map, between samples
LINE, TITLE, BAR = 2.7, 4.0, 13.5  # mm: a line of text, a sample's title, the colour bar with its label
CHARACTER = 1.22  # mm that a character of 6 pt takes
QUESTION_LINES = 2
MOST_COLUMNS = 6


@dataclass(frozen=True)
class Caption:
    """What is written with a sample: a title above, and lines about the map below its answer, each cut to one line."""

    title: str
    details: tuple[str, ...]


def draw_grid(
    samples: list[Selected],
    settings: Mapping[str, Any],
    columns: int,
    captions: list[Caption],
    header: str = "",
) -> Figure:
    """Every sample with its image, boxes of its target, map over the image, question, answer and own caption.

    At least `columns` samples side by side, more where a page is full; a header, if any, stands above all.
    """
    width = SINGLE_COLUMN if len(samples) == 1 else DOUBLE_COLUMN
    told = wrapped(header, int((width - 2 * MARGIN) / CHARACTER), 9) if header else []
    upper = MARGIN + (len(told) * LINE + 1 if told else 0)
    columns, side, heights = layout(samples, width, columns, upper, max(len(one.details) for one in captions))
    tops = [upper, *(upper + below for below in itertools.accumulate(heights))]
    figure = new_figure(width, tops[-1] + BAR + MARGIN, layout="none")
    write(figure, MARGIN, MARGIN, told, "black")
    scale = overlay.map_scale(shown_map(selected) for selected in samples)
    for index, (selected, caption) in enumerate(zip(samples, captions, strict=True)):
        left = MARGIN + (index % columns) * (2 * side + GAP + GUTTER)
        place = (left, tops[index // columns], side)
        draw_sample(figure, selected, caption, place, scale, settings["figures"]["smoothing"])
    bar = (MARGIN + 2, tops[-1], min(80.0, width - 2 * MARGIN - 4), 2.2)
    overlay.colour_bar(figure, bar, scale, overlay.bar_label(settings, samples, scale))
    return figure


def layout(
    samples: list[Selected], width: float, columns: int, upper: float, details: int
) -> tuple[int, float, list[float]]:
    """Samples side by side, side of an image and height of each row, in mm; as large as one page allows.

    A row is as high as its own tallest image needs: wide images do not wait for a tall one in another row.
    """
    for number in range(columns, MOST_COLUMNS + 1):
        side = ((width - 2 * MARGIN - (number - 1) * GUTTER) / number - GAP) / 2
        texts = TITLE + (2 * QUESTION_LINES + details) * LINE + 3
        rows = [samples[first : first + number] for first in range(0, len(samples), number)]
        heights = [max(height_of(selected, side) for selected in row) + texts for row in rows]
        if upper + sum(heights) + BAR + MARGIN <= PAGE_HEIGHT or len(samples) == 1:
            break
    return number, side, heights


def height_of(selected: Selected, side: float) -> float:
    """How high a sample's image is at a width of `side`; a very tall one is made narrower instead."""
    return side * min(selected.size[1] / selected.size[0], 1.5)


def draw_sample(
    figure: Figure,
    selected: Selected,
    caption: Caption,
    place: tuple[float, float, float],
    scale: LogNorm,
    smoothing: bool,
) -> None:
    """One sample at (left, top, side): title, image and map, and below what was asked, answered and its details."""
    left, top, side = place
    tall = height_of(selected, side)
    image = axes_at(figure, left, top + TITLE, side, tall)
    over = axes_at(figure, left + side + GAP, top + TITLE, side, tall)
    overlay.show_image(image, selected)
    overlay.show_image(over, selected, faded=True)
    overlay.show_map(over, shown_map(selected), selected, scale, smoothing)
    for axes in (image, over):
        overlay.show_boxes(axes, selected)
    characters = int((2 * side + GAP) / CHARACTER)
    write(figure, left, top + TITLE - 1, [caption.title], "black", va="bottom", weight="bold")
    lines = overlay.question_lines(selected, characters, QUESTION_LINES)
    below = top + TITLE + tall + 1
    write(figure, left, below, lines, "black")
    details = [wrapped(text, characters, 1)[0] for text in caption.details]
    write(figure, left, below + len(lines) * LINE, details, GREY)


def shown_map(selected: Selected) -> xr.DataArray:
    """The map (row, col) of a sample that is shown: that of one layer."""
    return selected.maps["map"].sel(layer=int(selected.told("shown_layer")))


def mass_text(selected: Selected) -> str:
    """How much of the attention the map of a sample holds, and its largest weight."""
    mass = overlay.vision_mass_text(selected, int(selected.told("shown_layer")))
    return f"{mass}, {largest_text(selected)}"


def largest_text(selected: Selected) -> str:
    """The largest weight of a sample's map."""
    return f"largest weight {float(shown_map(selected).max()):.2g}"


def write(figure: Figure, left: float, top: float, lines: Iterable[str], colour: str, **font: Any) -> None:
    """Lines of text from a place in mm from the page's upper left corner."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    look: dict[str, Any] = {"fontsize": SMALL, "va": "top", "ha": "left", "color": colour, "linespacing": 1.15, **font}
    figure.text(left / width, 1 - top / height, "\n".join(lines), **look)
