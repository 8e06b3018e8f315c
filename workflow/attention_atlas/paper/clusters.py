"""Clusters: t of contrasts at every layer and step around the answer, with the clusters that are significant."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLACK,
    DOUBLE_COLUMN,
    LIGHT_GREY,
    PAGE_HEIGHT,
    house_style,
    message_figure,
    new_figure,
)

DIVERGING = "PuOr"
COLUMNS = 3
PANEL_HEIGHT = 46.0  # mm
TITLE_WIDTH = 36  # letters


@house_style
def draw(cluster_plane: pd.DataFrame, clusters: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A plane per contrast on one symmetric colour scale; outlined: clusters with p up to alpha."""
    if cluster_plane["t"].isna().all():
        return message_figure("No layer x step plane: no declared contrast has enough images to be tested on it.")
    groups = [(str(name), rows) for name, rows in cluster_plane.groupby("contrast", sort=False)]
    columns = min(COLUMNS, len(groups))
    rows_of_panels = math.ceil(len(groups) / columns)
    figure = new_figure(DOUBLE_COLUMN, min(PANEL_HEIGHT * rows_of_panels + 8, PAGE_HEIGHT))
    all_axes = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    largest = cluster_plane["t"].abs().max()
    scale = Normalize(-largest, largest)
    significant = clusters[clusters["p"] <= settings["tests"]["alpha"]]
    for axes, (name, rows) in zip(all_axes, groups, strict=False):
        draw_plane(axes, rows, set(significant.loc[significant["contrast"] == name, "cluster"]), scale)
        count = panels.count_text(rows.loc[rows["t"].notna(), "n"])
        axes.set_title(textwrap.fill(f"{name.replace('_', ' ')}, {count}", TITLE_WIDTH), loc="left")
    for axes in all_axes[len(groups) :]:
        axes.set_axis_off()
    bar = figure.colorbar(ScalarMappable(scale, DIVERGING), ax=all_axes, aspect=40, pad=0.01, fraction=0.03)
    bar.set_label("t of the difference in entropy,\nfirst minus second")
    bar.outline.set_visible(False)
    figure.supxlabel(
        "step from the answer's first token (outline, dots: significant clusters; hatched: too few images)"
    )
    figure.supylabel("layer")
    return figure


def draw_plane(axes: Axes, rows: pd.DataFrame, outlined: set[int], scale: Normalize) -> None:
    """One cell per (step, layer); layers are rows in their order, gaps closed."""
    t = rows.pivot(index="layer", columns="step", values="t")
    labels = rows.pivot(index="layer", columns="step", values="cluster").to_numpy(dtype=int)
    layers, steps = [int(layer) for layer in t.index], [int(step) for step in t.columns]
    axes.set_facecolor("white")
    axes.patch.set(hatch="/////", edgecolor=LIGHT_GREY)
    step_edges, layer_edges = np.arange(steps[0], steps[-1] + 2) - 0.5, np.arange(len(layers) + 1) - 0.5
    values = np.ma.masked_invalid(t.to_numpy(dtype=float))
    axes.pcolormesh(step_edges, layer_edges, values, norm=scale, cmap=DIVERGING, rasterized=True)
    for cluster in sorted(outlined):
        outline(axes, labels == cluster, step_edges, layer_edges)
    axes.set_xticks(steps)
    every = math.ceil(len(layers) / 9)
    axes.set_yticks(range(0, len(layers), every), [str(layer) for layer in layers[::every]])
    axes.set_ylim(layer_edges[0], layer_edges[-1])


def outline(axes: Axes, inside: np.ndarray, step_edges: np.ndarray, layer_edges: np.ndarray) -> None:
    """The sides between the cells of a cluster and others, or the plane's own border, and a dot in each cell."""
    padded = np.pad(inside, 1)
    look: dict[str, Any] = {"color": BLACK, "linewidth": 1.2}
    rows, cols = np.nonzero(inside)
    axes.plot(step_edges[cols] + 0.5, layer_edges[rows] + 0.5, color=BLACK, marker=".", markersize=2, linestyle="")
    for row, col in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        axes.hlines(layer_edges[row], step_edges[col], step_edges[col + 1], **look)
    for row, col in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        axes.vlines(step_edges[col], layer_edges[row], layer_edges[row + 1], **look)
