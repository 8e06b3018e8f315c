"""Gallery: chosen samples, each as its image with the target and as the map over the image."""

import math
from collections.abc import Mapping
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
    house_style,
    message_figure,
    new_figure,
)

MARGIN, GAP, GUTTER = 2.0, 1.0, 5.0  # mm: page border, between image and map, between samples
LINE, TITLE, BAR = 2.7, 4.0, 11.0  # mm: a line of text, a sample's title, the colour bar with its label
CHARACTER = 1.22  # mm that a character of 6 pt takes
QUESTION_LINES = 2


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """Every sample with its image, boxes of its target, map over the image, question, answer, entropy and place."""
    if not samples:
        return message_figure("No gallery: no sample was chosen, or none of those chosen has an answer.")
    width, columns, side, row_height = layout(samples)
    rows = math.ceil(len(samples) / columns)
    figure = new_figure(width, 2 * MARGIN + rows * row_height + BAR, layout="none")
    for index, selected in enumerate(samples):
        left = MARGIN + (index % columns) * (2 * side + GAP + GUTTER)
        draw_sample(figure, selected, left, MARGIN + index // columns * row_height, side, settings)
    place = (MARGIN, MARGIN + rows * row_height, min(60.0, width - 2 * MARGIN), 2.2)
    label = f"attention weight, {overlay.pooling_text(settings, samples)}; box: target"
    bar = overlay.colour_bar(figure, place, Normalize(0, 1), label)
    bar.set_xticks([0, 1], ["0", "largest of the map"])
    lowest, largest = bar.get_xticklabels()
    lowest.set_horizontalalignment("left")
    largest.set_horizontalalignment("right")
    return figure


def layout(samples: list[Selected]) -> tuple[float, int, float, float]:
    """Page width, samples side by side, side of an image and height of a row, in mm; as large as one page allows."""
    tallest = max(min(selected.size[1] / selected.size[0], 1.5) for selected in samples)
    width = SINGLE_COLUMN if len(samples) == 1 else DOUBLE_COLUMN
    first = 1 if len(samples) == 1 else min(3, len(samples))
    for columns in range(first, 7):
        side = ((width - 2 * MARGIN - (columns - 1) * GUTTER) / columns - GAP) / 2
        row_height = TITLE + side * tallest + (2 * QUESTION_LINES + 3) * LINE + 3
        if math.ceil(len(samples) / columns) * row_height + BAR <= PAGE_HEIGHT or len(samples) == 1:
            break
    return width, columns, side, row_height


def draw_sample(
    figure: Figure, selected: Selected, left: float, top: float, side: float, settings: Mapping[str, Any]
) -> None:
    """One sample: title, image and map side by side, and below what was asked, answered and measured."""
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
    title = f"{selected.told('query_id')} {selected.told('query_type')}"
    write(figure, left, top + TITLE - 1, [title], "black", va="bottom", weight="bold")
    lines = overlay.question_lines(selected, characters, QUESTION_LINES)
    where = [
        f"layer {layer}, {overlay.place_text(selected)}",
        ", ".join(filter(None, [overlay.entropy_text(selected, layer), f"largest weight {scale.vmax:.2g}"])),
        ", ".join(filter(None, [selected.sample_id, overlay.target_text(selected)])),
    ]
    below = top + TITLE + tall + 1
    write(figure, left, below, lines, "black")
    details = [line for text in where for line in overlay.wrapped(text, characters, 1)]
    write(figure, left, below + len(lines) * LINE, details, GREY)


def write(figure: Figure, left: float, top: float, lines: list[str], colour: str, **font: Any) -> None:
    """Lines of text from a place in mm from the page's upper left corner."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    look: dict[str, Any] = {"fontsize": SMALL, "va": "top", "ha": "left", "color": colour, "linespacing": 1.15, **font}
    figure.text(left / width, 1 - top / height, "\n".join(lines), **look)
