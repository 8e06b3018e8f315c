"""Causal checks: each check against its control by type of query, with interval, margin of equivalence and verdict."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    NORMAL,
    PAGE_HEIGHT,
    PALE_GREY,
    SMALL,
    VERDICTS,
    house_style,
    label,
    message_figure,
    new_figure,
    percent,
)

COLUMNS = 2
ROW = 3.6  # mm
AROUND = 11.0  # mm of a panel that title and axis take


@house_style
def draw(causal: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per check, a row per type of query; grey: the margin within which a difference counts as none."""
    if causal.empty:
        return message_figure("No causal checks: no sample was perturbed.")
    groups = [(str(check), rows) for check, rows in causal.groupby("check", sort=False)]
    types = list(dict.fromkeys(causal["query_type"]))
    height, lines = ROW * (len(types) + 0.5) + AROUND, math.ceil(len(groups) / COLUMNS)
    figure = new_figure(DOUBLE_COLUMN, min(height * lines + 6, PAGE_HEIGHT))
    all_axes = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes, (check, rows) in zip(all_axes, groups, strict=False):
        draw_check(axes, check, rows, types)
    for axes in all_axes[len(groups) :]:
        axes.set_axis_off()
    confidence = percent(settings["statistics"]["confidence"])
    told = f"bars: {confidence} intervals over images; grey: margin of equivalence; line: no difference"
    figure.supxlabel(told, fontsize=SMALL)
    return figure


def draw_check(axes: Axes, check: str, rows: pd.DataFrame, types: list[str]) -> None:
    """One check: its difference from the control of each type of query."""
    for row in rows.to_dict("records"):
        place = types.index(row["query_type"])
        colour, marker = VERDICTS[row["verdict"]]
        if pd.notna(row["margin"]):
            axes.barh(place, 2 * row["margin"], left=-row["margin"], height=0.8, color=PALE_GREY, zorder=0)
        axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.2)
        axes.plot([row["difference"]], [place], color=colour, marker=marker, linestyle="")
        text = f"{row['verdict']}, n = {row['n']}"
        label(axes, 1.02, place, text, transform=axes.get_yaxis_transform(), va="center", color=colour)
    if rows[["difference", "margin"]].isna().all(axis=None):
        axes.set_xlim(-1, 1)  # of nothing, an axis would tick around the line at zero in steps of 1e-17
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_yticks(range(len(types)), types)
    axes.set_ylim(len(types) - 0.4, -0.6)
    axes.set_title(check, loc="left", fontsize=NORMAL)
    axes.set_xlabel(textwrap.fill(str(rows["quantity"].iloc[0]), 52), fontsize=SMALL)
    axes.tick_params(left=False)
    axes.hlines(
        range(len(types)), 0, 1, transform=axes.get_yaxis_transform(), color=LIGHT_GREY, linewidth=0.3, zorder=0
    )
