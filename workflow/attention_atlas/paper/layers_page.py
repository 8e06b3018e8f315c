"""Layers page: the maps of all layers for one sample, on one logarithmic colour scale."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from attention_atlas.paper import overlay
from attention_atlas.paper.overlay import Selected
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    MM_PER_INCH,
    PAGE_HEIGHT,
    SMALL,
    axes_at,
    house_style,
    message_figure,
    new_figure,
)
from attention_atlas.paper.texts import wrapped

MARGIN, GAP, TITLE, HEADER, BAR = 2.0, 2.0, 6.2, 15.0, 13.5  # mm


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """The image with its target, then the map of every layer over it, each with its entropy and vision mass."""
    if not samples:
        return message_figure("No page of layers: no sample was chosen, or the one chosen has no answer.")
    selected = samples[0]
    layers = [int(layer) for layer in selected.maps["layer"].values]
    columns, side, tall = layout(len(layers) + 1, selected)
    rows = math.ceil((len(layers) + 1) / columns)
    figure = new_figure(DOUBLE_COLUMN, HEADER + rows * (TITLE + tall + GAP) + BAR, layout="none")
    write_header(figure, selected)
    scale = overlay.map_scale([selected.maps["map"]])
    for index, layer in enumerate([None, *layers]):
        left = MARGIN + index % columns * (side + GAP)
        top = HEADER + TITLE + index // columns * (TITLE + tall + GAP)
        axes = axes_at(figure, left, top, side, tall)
        overlay.show_image(axes, selected, faded=layer is not None)
        if layer is not None:
            weights = selected.maps["map"].sel(layer=layer)
            overlay.show_map(axes, weights, selected, scale, settings["figures"]["smoothing"])
        overlay.show_boxes(axes, selected)
        axes.set_title(title(selected, layer), fontsize=SMALL, loc="left", pad=2)
    # A little inwards: the label of its first tick is centred on its end.
    place = (MARGIN + 2, HEADER + rows * (TITLE + tall + GAP), 80.0, 2.2)
    overlay.colour_bar(figure, place, scale, overlay.bar_label(settings, samples, scale))
    return figure


def layout(panels: int, selected: Selected) -> tuple[int, float, float]:
    """Panels side by side, their width and height in mm; as large as one page allows."""
    aspect = selected.size[1] / selected.size[0]
    for columns in range(4, 13):
        side = (DOUBLE_COLUMN - 2 * MARGIN - (columns - 1) * GAP) / columns
        rows = math.ceil(panels / columns)
        if rows * (TITLE + side * aspect + GAP) + HEADER + BAR <= PAGE_HEIGHT:
            break
    return columns, side, side * aspect


def title(selected: Selected, layer: int | None) -> str:
    """The title of a panel: the layer, the entropy of its map, and the share of its attention on the image."""
    if layer is None:
        return "image and target" if selected.boxes else "image, no target"
    entropy = float(selected.maps["entropy"].sel(layer=layer))
    shown = f"{layer}: H = {entropy:.2f}" if math.isfinite(entropy) else f"{layer}: no entropy"
    return f"{shown}\n{overlay.vision_mass_text(selected, layer).removeprefix('vision ')}"


def write_header(figure: Figure, selected: Selected) -> None:
    """What was asked and answered, and which step's maps these are."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    lines = [
        f"{selected.sample_id}, {selected.told('query_type')}: {wrapped(selected.told('query'), 110, 1)[0]}",
        *overlay.question_lines(selected, 125, 1)[1:],
    ]
    figure.text(MARGIN / width, 1 - 2 / height, "\n".join(lines), va="top", linespacing=1.25)
    highest = math.log(selected.maps.sizes["row"] * selected.maps.sizes["col"])
    grey = (
        f"maps at {overlay.place_text(selected)}, {overlay.cells_text(selected)}; titles: layer, entropy H in nats (at "
        f"most {highest:.2f}), and mass: share of the attention that is on the image, mean over heads"
    )
    figure.text(MARGIN / width, 1 - 9.2 / height, grey, va="top", fontsize=SMALL, color=GREY)
