"""Sample grid: samples side by side, each as its image with the target and as one map over the image, with texts."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from matplotlib.colors import Normalize
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

MARGIN, GAP, GUTTER = 2.0, 1.0, 5.0  # mm: page border, between image and map, between samples
LINE, TITLE, BAR = 2.7, 4.0, 11.0  # mm: a line of text, a sample's title, the colour bar with its label
CHARACTER = 1.22  # mm that a character of 6 pt takes
QUESTION_LINES = 2
MOST_COLUMNS = 6


def draw_grid(
    samples: list[Selected],
    settings: Mapping[str, Any],
    columns: int,
    title: Callable[[Selected], str],
    measured: Callable[[Selected, int], str],
    header: str = "",
) -> Figure:
    """Every sample with its image, boxes of its target, map over the image, question, answer, measure and place.

    At least `columns` samples side by side, more where a page is full; `measured` says what is measured of the map at
    the layer shown.
    """
    width = SINGLE_COLUMN if len(samples) == 1 else DOUBLE_COLUMN
    told = overlay.wrapped(header, int((width - 2 * MARGIN) / CHARACTER), 9) if header else []
    upper = MARGIN + (len(told) * LINE + 1 if told else 0)
    columns, side, row_height = layout(samples, width, columns, upper)
    rows = math.ceil(len(samples) / columns)
    figure = new_figure(width, upper + rows * row_height + BAR + MARGIN, layout="none")
    write(figure, MARGIN, MARGIN, told, "black")
    for index, selected in enumerate(samples):
        left = MARGIN + (index % columns) * (2 * side + GAP + GUTTER)
        place = (left, upper + index // columns * row_height, side)
        draw_sample(figure, selected, place, settings, title(selected), measured)
    place = (MARGIN, upper + rows * row_height, min(60.0, width - 2 * MARGIN))
    draw_bar(figure, place, f"attention weight, {overlay.pooling_text(settings, samples)}; box: target")
    return figure


def layout(samples: list[Selected], width: float, columns: int, upper: float) -> tuple[int, float, float]:
    """Samples side by side, side of an image and height of a row, in mm; as large as one page allows."""
    tallest = max(min(selected.size[1] / selected.size[0], 1.5) for selected in samples)
    for number in range(columns, MOST_COLUMNS + 1):
        side = ((width - 2 * MARGIN - (number - 1) * GUTTER) / number - GAP) / 2
        row_height = TITLE + side * tallest + (2 * QUESTION_LINES + 3) * LINE + 3
        height = upper + math.ceil(len(samples) / number) * row_height + BAR + MARGIN
        if height <= PAGE_HEIGHT or len(samples) == 1:
            break
    return number, side, row_height


def draw_sample(
    figure: Figure,
    selected: Selected,
    place: tuple[float, float, float],
    settings: Mapping[str, Any],
    title: str,
    measured: Callable[[Selected, int], str],
) -> None:
    """One sample at (left, top, side): title, image and map, and below what was asked, answered and measured."""
    left, top, side = place
    tall = side * min(selected.size[1] / selected.size[0], 1.5)
    image = axes_at(figure, left, top + TITLE, side, tall)
    over = axes_at(figure, left + side + GAP, top + TITLE, side, tall)
    overlay.show_image(image, selected)
    overlay.show_image(over, selected, faded=True)
    layer = int(selected.told("shown_layer"))
    weights = selected.maps["map"].sel(layer=layer)
    scale = overlay.map_scale(weights)
    overlay.show_map(over, weights, selected, scale, settings["figures"]["smoothing"])
    for axes in (image, over):
        overlay.show_boxes(axes, selected)
    characters = int((2 * side + GAP) / CHARACTER)
    write(figure, left, top + TITLE - 1, [title], "black", va="bottom", weight="bold")
    lines = overlay.question_lines(selected, characters, QUESTION_LINES)
    where = [
        f"layer {layer}, {overlay.place_text(selected)}",
        ", ".join(filter(None, [measured(selected, layer), f"largest weight {scale.vmax:.2g}"])),
        ", ".join(filter(None, [selected.sample_id, overlay.target_text(selected)])),
    ]
    below = top + TITLE + tall + 1
    write(figure, left, below, lines, "black")
    details = [line for text in where for line in overlay.wrapped(text, characters, 1)]
    write(figure, left, below + len(lines) * LINE, details, GREY)


def draw_bar(figure: Figure, place: tuple[float, float, float], label: str) -> None:
    """The colour bar at (left, top, width): every map has its own scale."""
    bar = overlay.colour_bar(figure, (*place, 2.2), Normalize(0, 1), label)
    bar.set_xticks([0, 1], ["0", "largest of the map"])
    lowest, largest = bar.get_xticklabels()
    lowest.set_horizontalalignment("left")
    largest.set_horizontalalignment("right")


def write(figure: Figure, left: float, top: float, lines: Iterable[str], colour: str, **font: Any) -> None:
    """Lines of text from a place in mm from the page's upper left corner."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    look: dict[str, Any] = {"fontsize": SMALL, "va": "top", "ha": "left", "color": colour, "linespacing": 1.15, **font}
    figure.text(left / width, 1 - top / height, "\n".join(lines), **look)
