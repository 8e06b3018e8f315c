"""Head AUROC: how well each head's map agrees with the target, a cell per layer and head; chosen heads are outlined."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLACK,
    GREY,
    LIGHT_GREY,
    SINGLE_COLUMN,
    SMALL,
    house_style,
    message_figure,
    new_figure,
)

CHANCE = 0.5
# Diverging, white at chance, and told apart by colour-blind readers (ColorBrewer).
COLOURS = "RdBu_r"
ROW_HEIGHT, FEWEST, MOST = 4.0, 24.0, 120.0  # mm: a layer, the plane of few layers, the plane of many
FRAME, EXTRA = 26.0, 12.0  # mm beside the plane (labels, colour bar), and above and below it
CELL_FOR_NUMBER = (7.0, 3.0)  # mm that a number of 6 pt needs
TICK_PITCH = 3.5  # mm between labels
DARK = 0.7  # of the scale's half: white numbers beyond it
HATCH = "/////"
BELOW_CHANCE: dict[str, Any] = {"color": BLACK, "linestyle": "", "marker": "_", "markersize": 2, "markeredgewidth": 0.5}


@house_style
def draw(head_auroc: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Mean AUROC over images by layer (upwards) and head, on colours around chance."""
    if not head_auroc["auroc"].notna().any():
        return message_figure("No map of heads: no sample has both a target and a defined map at the selected step.")
    plane = head_auroc.pivot(index="layer", columns="head", values="auroc").astype(float)
    chosen = (head_auroc.pivot(index="layer", columns="head", values="selected") == "yes").to_numpy()
    width, height = SINGLE_COLUMN - FRAME, min(max(ROW_HEIGHT * len(plane), FEWEST), MOST)
    figure = new_figure(SINGLE_COLUMN, height + EXTRA)
    axes = figure.add_subplot()
    scale = around_chance(plane.to_numpy())
    draw_plane(axes, plane, scale)
    outline(axes, chosen)
    cell = width / plane.shape[1], height / plane.shape[0]
    numbered = cell[0] >= CELL_FOR_NUMBER[0] and cell[1] >= CELL_FOR_NUMBER[1]
    if numbered:
        write_numbers(axes, plane, scale)
    else:
        mark_below_chance(axes, plane)
    set_ticks(axes, plane, cell)
    axes.set(xlabel="head", ylabel="layer")
    axes.set_title(panels.count_text(head_auroc["n"]), loc="right", fontsize=SMALL, color=GREY)
    add_colour_bar(figure, axes, plane, scale)
    panels.add_legend(
        figure, legend(plane, chosen, numbered), "AUROC of each head's map, mean over images; chance: 0.5"
    )
    return figure


def around_chance(values: np.ndarray) -> Normalize:
    """A scale with chance in its middle, as wide as the values need."""
    half = max(float(np.nanmax(np.abs(values - CHANCE))), 0.05)
    return Normalize(CHANCE - half, CHANCE + half)


def draw_plane(axes: Axes, plane: pd.DataFrame, scale: Normalize) -> None:
    """One cell per (layer, head); hatched where there is no value. Layers are rows in their order, gaps closed."""
    axes.set_facecolor("white")
    axes.patch.set(hatch=HATCH, edgecolor=LIGHT_GREY)
    edges = (np.arange(size + 1) - 0.5 for size in plane.shape[::-1])
    cells = np.ma.masked_invalid(plane.to_numpy())
    axes.pcolormesh(*edges, cells, norm=scale, cmap=COLOURS, rasterized=True)
    axes.set(xlim=(-0.5, plane.shape[1] - 0.5), ylim=(-0.5, plane.shape[0] - 0.5))


def outline(axes: Axes, chosen: np.ndarray) -> None:
    """A frame around each chosen head."""
    for row, column in np.argwhere(chosen):
        frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=BLACK, linewidth=1.2, clip_on=False)
        axes.add_patch(frame)


def write_numbers(axes: Axes, plane: pd.DataFrame, scale: Normalize) -> None:
    """The value of each cell."""
    for (row, column), value in np.ndenumerate(plane.to_numpy()):
        if math.isfinite(value):
            dark = abs(2 * float(scale(value)) - 1) > DARK
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color="white" if dark else BLACK
            )


def mark_below_chance(axes: Axes, plane: pd.DataFrame) -> None:
    """A minus in each cell below chance: both ends of the colours are dark in print without colour."""
    rows, columns = np.nonzero((plane < CHANCE).to_numpy())
    axes.plot(columns, rows, **BELOW_CHANCE)


def set_ticks(axes: Axes, plane: pd.DataFrame, cell: tuple[float, float]) -> None:
    """Labels of layers and heads, as many as there is room for."""
    every = [math.ceil(TICK_PITCH / side) for side in cell]
    for axis, labels, step in ((axes.xaxis, plane.columns, every[0]), (axes.yaxis, plane.index, every[1])):
        axis.set_ticks(range(0, len(labels), step), [str(label) for label in labels[::step]])


def add_colour_bar(figure: Figure, axes: Axes, plane: pd.DataFrame, scale: Normalize) -> None:
    """The part of the scale that the values and chance take."""
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=axes, aspect=30, pad=0.02)
    values = [*plane.to_numpy()[plane.notna()], CHANCE]
    bar.ax.set_ylim(min(values), max(values))
    bar.set_label("AUROC")
    bar.outline.set_visible(False)


def legend(plane: pd.DataFrame, chosen: np.ndarray, numbered: bool) -> list[Any]:
    """What outlines, minuses and hatches mean."""
    frame = Patch(facecolor="none", edgecolor=BLACK, linewidth=1.2, label="chosen on the split select")
    nothing = Line2D([], [], linestyle="none", label="no head was chosen")
    without = Patch(facecolor="white", edgecolor=LIGHT_GREY, hatch=HATCH, label="no value")
    minus = Line2D([], [], **BELOW_CHANCE, label="below chance")
    marked = not numbered and bool((plane < CHANCE).to_numpy().any())
    return [
        frame if chosen.any() else nothing,
        *([minus] if marked else []),
        *([without] if plane.isna().to_numpy().any() else []),
    ]
