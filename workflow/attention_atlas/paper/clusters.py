"""Clusters: t of contrasts at every layer and step around the answer, with the clusters that are significant."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import BLACK, LIGHT_GREY, MM_PER_INCH, SMALL, house_style, message_figure

DIVERGING = "PuOr"
PANEL_HEIGHT = 38.0  # mm
BAR = 14.0  # mm that the page grows by, for the colour bar and what is said below it
STEP_PITCH = 4.5  # mm between tick labels of steps
# Colours end where this share of the cells does, or a few outliers would leave the rest pale.
SHOWN = 0.9
DARK = 0.6  # of the colours' end: white signs beyond it
LEAST = 2.0  # the end of colours at the least: below it nothing is significant


@house_style
def draw(cluster_plane: pd.DataFrame, clusters: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A plane per contrast on one symmetric colour scale; outlined: clusters with p up to alpha."""
    if cluster_plane.empty and clusters.empty:
        return message_figure("No layer x step plane: no declared contrast has one (settings: contrasts, plane).")
    if cluster_plane["t"].isna().all():
        return message_figure("No layer x step plane: no declared contrast has enough images to be tested on it.")
    groups = {str(name): rows for name, rows in cluster_plane.groupby("contrast", sort=False)}
    counts = [panels.count_text(rows.loc[rows["t"].notna(), "n"]) for rows in groups.values()]
    grid = panels.grid_for(groups, counts, PANEL_HEIGHT)
    figure, body = panels.figure_for(replace(grid, height=grid.height + BAR))
    scale = robust_scale(cluster_plane["t"])
    significant = clusters[clusters["p"] <= settings["tests"]["alpha"]]
    all_axes = panels.panel_axes(body, grid, share_x=False, share_y=False)
    for axes, (name, rows) in zip(all_axes, groups.items(), strict=True):
        outlined = set(significant.loc[significant["contrast"] == name, "cluster"])
        draw_plane(axes, rows, outlined, scale, grid.panel_width)
    body.supxlabel(remarks(cluster_plane["t"], scale, settings, grid), fontsize=SMALL)
    add_colour_bar(body, all_axes, cluster_plane["t"], scale)
    body.supylabel("layer")
    return figure


def robust_scale(t: pd.Series) -> Normalize:
    """A symmetric scale that ends at the size of t that nine cells in ten do not exceed, or somewhat farther out."""
    end = max(float(t.abs().quantile(SHOWN)), min(LEAST, float(t.abs().max())) or 1.0)
    return Normalize(-end, end)


def exceeded(t: pd.Series, scale: Normalize) -> str:
    """The ends of the colours that values lie beyond, as a colour bar calls them."""
    end = float(scale.vmax or 0)
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (float(t.min()) < -end, float(t.max()) > end), "neither"
    )


def add_colour_bar(figure: Any, all_axes: list[Axes], t: pd.Series, scale: Normalize) -> None:
    """The scale of t, with arrows where values exceed it."""
    place: dict[str, Any] = {"ax": all_axes, "location": "bottom", "aspect": 50, "pad": 0.02, "fraction": 0.03}
    bar = figure.colorbar(ScalarMappable(scale, DIVERGING), extend=exceeded(t, scale), **place)
    bar.set_label("t of the difference in entropy, first minus second", fontsize=SMALL)
    bar.outline.set_visible(False)


def remarks(t: pd.Series, scale: Normalize, settings: Mapping[str, Any], grid: panels.Grid) -> str:
    """What is said below the colour bar."""
    told = ["step from the answer's first token"]
    level = f"p ≤ {settings['tests']['alpha']:g}".replace(" ", panels.UNBROKEN)
    if exceeded(t, scale) != "neither":
        reach = f"{t.min():.3g} to {t.max():.3g}".replace("-", "−")
        told.append(f"colours end at ±{scale.vmax:.3g}, within which nine cells in ten lie; t is {reach}")
    told.append(f"outlined, with the sign of t: clusters with {level}")
    told += ["hatched: too few images"] if t.isna().any() else []
    told += [grid.remark] if grid.remark else []
    return panels.wrapped("; ".join(told), grid.width)


def draw_plane(axes: Axes, rows: pd.DataFrame, outlined: set[int], scale: Normalize, width: float) -> None:
    """One cell per (step, layer); layers are rows in their order, gaps closed."""
    t = rows.pivot(index="layer", columns="step", values="t")
    labels = rows.pivot(index="layer", columns="step", values="cluster").to_numpy(dtype=int)
    layers, steps = [int(layer) for layer in t.index], [int(step) for step in t.columns]
    axes.set_facecolor("white")
    axes.patch.set(hatch="/////", edgecolor=LIGHT_GREY)
    step_edges, layer_edges = np.arange(steps[0], steps[-1] + 2) - 0.5, np.arange(len(layers) + 1) - 0.5
    values = t.to_numpy(dtype=float)
    axes.pcolormesh(step_edges, layer_edges, np.ma.masked_invalid(values), norm=scale, cmap=DIVERGING, rasterized=True)
    cell = min(width / len(steps), (PANEL_HEIGHT - 6) / len(layers)) / MM_PER_INCH * 72
    for cluster in sorted(outlined):
        outline(axes, labels == cluster, values, step_edges, layer_edges, scale, min(3.0, 0.5 * cell))
    every = math.ceil(len(steps) / max(2, int(width / STEP_PITCH)))
    axes.set_xticks([step for step in steps if step % every == 0])
    every = math.ceil(len(layers) / 9)
    axes.set_yticks(range(0, len(layers), every), [str(layer) for layer in layers[::every]])
    axes.set_ylim(layer_edges[0], layer_edges[-1])


def outline(
    axes: Axes,
    inside: np.ndarray,
    values: np.ndarray,
    step_edges: np.ndarray,
    layer_edges: np.ndarray,
    scale: Normalize,
    size: float,
) -> None:
    """The sides between the cells of a cluster and others, or the plane's border, and the sign of t in each (pt)."""
    padded = np.pad(inside, 1)
    look: dict[str, Any] = {"color": BLACK, "linewidth": 1.2}
    # Both ends of the colours are dark in print without colour.
    dark = np.abs(values) > DARK * float(scale.vmax or 0)
    for marker, signed in (("+", values >= 0), ("_", ~(values >= 0))):
        for colour, shaded in (("white", dark), (BLACK, ~dark)):
            rows, cols = np.nonzero(inside & signed & shaded)
            place = step_edges[cols] + 0.5, layer_edges[rows] + 0.5
            axes.plot(*place, color=colour, marker=marker, markersize=size, markeredgewidth=0.7, linestyle="")
    for row, col in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        axes.hlines(layer_edges[row], step_edges[col], step_edges[col + 1], **look)
    for row, col in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        axes.vlines(step_edges[col], layer_edges[row], layer_edges[row + 1], **look)
