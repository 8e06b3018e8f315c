"""Power: how often each verdict falls in simulated datasets with a planted effect, by effect and number of images."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    SMALL,
    VERMILION,
    house_style,
    label,
    message_figure,
    new_figure,
)

VERDICTS = {"moved": (VERMILION, "o"), "equivalent": (GREEN, "s")}
# Contrasts have images of their own number, so lines tell which of a panel's n they are.
LINES: dict[str, Any] = {
    "first n": (0, (1, 1)),
    "second n": (0, (4, 1)),
    "third n": "-",
    "fourth n": (0, (5, 1, 1, 1)),
}
COLUMNS = 4


@house_style
def draw(power: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per contrast: shares of the verdicts moved and equivalent against the planted effect, a line per n."""
    if power.empty:
        return message_figure("No power: no contrast has enough images to be tested.")
    groups = [(str(name), rows) for name, rows in power.groupby("contrast", sort=False)]
    rows_of_panels = math.ceil(len(groups) / COLUMNS)
    figure = new_figure(DOUBLE_COLUMN, 36 * rows_of_panels + 10)
    all_axes = figure.subplots(rows_of_panels, COLUMNS, squeeze=False, sharey=True).ravel()
    for axes, (name, rows) in zip(all_axes, groups, strict=False):
        sizes = sorted(rows["n_first"].unique())
        label(axes, 0.97, 0.5, f"n = {', '.join(map(str, sizes))}", ha="right", va="center")
        for line, n in zip(LINES.values(), sizes, strict=False):
            own = rows[rows["n_first"] == n]
            for verdict, (colour, marker) in VERDICTS.items():
                axes.plot(own["effect"], own[verdict], color=colour, linestyle=line, marker=marker, markersize=2)
        axes.axhline(settings["tests"]["alpha"], color=GREY, linewidth=0.6)
        axes.set_title(textwrap.fill(name.replace("_", " "), 26), loc="left", fontsize=SMALL)
        axes.set_ylim(0, 1.03)
    for axes in all_axes[len(groups) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=name)
        for name, (colour, marker) in VERDICTS.items()
    ]
    most = power.groupby("contrast")["n_first"].nunique().max()
    handles += [Line2D([], [], color=GREY, linestyle=line, label=name) for name, line in list(LINES.items())[:most]]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    figure.supxlabel("planted effect, in the measure's unit")
    figure.supylabel("share of simulated datasets")
    return figure
