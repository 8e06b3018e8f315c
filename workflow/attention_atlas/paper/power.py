"""Power: how often each verdict falls in simulated datasets with a planted effect, by contrast, images and effect."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attention_atlas.paper.panels import QUANTITIES, fold, text_width
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    MAP_COLOURS,
    NORMAL,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    SMALL,
    VERMILION,
    axes_at,
    house_style,
    message_figure,
    new_figure,
)

VERDICTS = ("moved", "equivalent")
MARGIN, GUTTER = 1.5, 1.5  # mm that stay white at the page's edge, and between names and cells
LINE, BETWEEN = 2.6, 0.7  # mm that a line of text takes, and between rows
APART = 2.0  # mm between blocks
TITLE, FOOT = 9.0, 9.0  # mm above a block, for its title and the numbers of images, and of the colour bar
WIDEST_NAME = {SINGLE_COLUMN: 32.0, DOUBLE_COLUMN: 50.0}  # mm that names take at most
PART = 0.6  # of a cell, between the cells of two numbers of images
COLOURS = f"{MAP_COLOURS}_r"
SCALE = Normalize(0, 1)
# (page width, blocks side by side, lines of a name at most), tried in this order.
LAYOUTS: tuple[tuple[float, int, int | None], ...] = (
    *((SINGLE_COLUMN, 1, None), (DOUBLE_COLUMN, 2, None)),
    *((DOUBLE_COLUMN, 2, 3), (DOUBLE_COLUMN, 2, 2), (DOUBLE_COLUMN, 2, 1)),
)


@dataclass(frozen=True)
class Line:
    """A line of a block: a contrast with its rows of the table, or the heading of those below it."""

    text: str
    rows: pd.DataFrame | None = None

    @property
    def height(self) -> float:
        """Height in mm."""
        return LINE * (1 + self.text.count("\n")) + BETWEEN


@dataclass(frozen=True)
class Layout:
    """A page's width in mm, how many blocks stand side by side, and its lines with their texts folded."""

    width: float
    beside: int
    lines: tuple[Line, ...]

    @property
    def names(self) -> float:
        """Width in mm of the names of contrasts."""
        named = [part for line in self.lines if line.rows is not None for part in line.text.split("\n")]
        return max(text_width(part) for part in named)

    @property
    def cells(self) -> float:
        """Width in mm of the cells of a block."""
        return (self.width - self.names - 2 * MARGIN - GUTTER * self.beside) / self.beside

    @property
    def block(self) -> float:
        """Height in mm of a block."""
        return TITLE + sum(line.height for line in self.lines)


@house_style
def draw(power: pd.DataFrame, contrasts: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A block per verdict, a row per contrast, a cell per number of images and planted effect: the verdict's share."""
    if contrasts.empty:
        return message_figure("No power: no contrast is declared (settings: contrasts).")
    if power.empty:
        return message_figure("No power: no contrast has enough images to be tested.")
    groups = {str(name): rows for name, rows in power.groupby("contrast", sort=False)}
    usual = Counter(sizes(rows) for rows in groups.values()).most_common(1)[0][0]
    lines = lines_of(groups, measures_of(contrasts), usual)
    for width, beside, most in LAYOUTS:
        layout = Layout(width, beside, tuple(folded(line, width, most) for line in lines))
        told = remarks(power, settings, width, shortened=most is not None)
        below = FOOT + LINE * (told.count("\n") + 1) + 2 * MARGIN
        height = MARGIN + layout.block * len(VERDICTS) / beside + below
        if height <= PAGE_HEIGHT:
            break
    figure = new_figure(layout.width, height, layout=None)
    page = axes_at(figure, 0, 0, layout.width, height)
    page.set(xlim=(0, layout.width), ylim=(height, 0))
    page.set_axis_off()
    for index, verdict in enumerate(VERDICTS):
        across, down = index % beside, index // beside
        left = MARGIN + layout.names + GUTTER + across * (layout.cells + GUTTER)
        draw_block(page, verdict, layout, usual, (left, MARGIN + down * layout.block), named=across == 0)
    add_colour_bar(figure, layout, height - below, settings)
    page.text(MARGIN, height - MARGIN, told, fontsize=SMALL, va="bottom")
    return figure


def sizes(rows: pd.DataFrame) -> tuple[str, ...]:
    """The numbers of images of a contrast's datasets, as texts: "48", or "38, 10" where its arms differ."""
    pairs = dict.fromkeys(zip(rows["n_first"], rows["n_second"], strict=True))
    return tuple(f"{first}" if first == second else f"{first}, {second}" for first, second in pairs)


def measures_of(contrasts: pd.DataFrame) -> dict[str, str]:
    """The measure of each contrast, with its unit."""
    measure = contrasts["measure"].where(contrasts["kind"] != "share", "share")
    return {str(name): QUANTITIES.get(one, str(one)) for name, one in zip(contrasts["name"], measure, strict=True)}


def lines_of(groups: Mapping[str, pd.DataFrame], measures: Mapping[str, str], usual: tuple[str, ...]) -> list[Line]:
    """The lines of a block: contrasts under the measure and the planted effects that they share."""
    headings: dict[str, list[Line]] = {}
    for name, rows in groups.items():
        first = rows[(rows["n_first"] == rows["n_first"].iloc[0]) & (rows["n_second"] == rows["n_second"].iloc[0])]
        effects = ", ".join(f"{effect:g}" for effect in first["effect"])
        own = "" if sizes(rows) == usual else f" (n = {' | '.join(sizes(rows))})"
        heading = f"planted in {measures.get(name, 'the measure')}: {effects}"
        headings.setdefault(heading, []).append(Line(f"{name}{own}", rows))
    return [line for heading, lines in headings.items() for line in (Line(heading), *lines)]


def folded(line: Line, width: float, most: int | None) -> Line:
    """A line with its text folded: names into `most` lines at most, headings over the page."""
    if line.rows is None:
        return replace(line, text=fold(line.text, min(width, SINGLE_COLUMN) - 2 * MARGIN))
    return replace(line, text=fold(line.text, WIDEST_NAME[width], SMALL, most))


def remarks(power: pd.DataFrame, settings: Mapping[str, Any], width: float, shortened: bool) -> str:
    """What is said below the blocks."""
    counts = " to ".join(str(count) for count in sorted({power["datasets"].min(), power["datasets"].max()}))
    told = f"a cell: {counts} simulated datasets with as many images as stand above the cells (n), or beside the name; "
    told += "its place in its group: the planted effect, in the heading's order; the rest of the share: undecided; "
    told += f"where nothing is planted, moved is an error (level {settings['tests']['alpha']:g}, marked on the scale)"
    told += "; long names are shortened in their middle" if shortened else ""
    return fold(told, width - 2 * MARGIN)


def draw_block(
    page: Axes, verdict: str, layout: Layout, usual: Sequence[str], place: tuple[float, float], named: bool
) -> None:
    """The cells of a verdict from a place on (mm from the page's upper left corner), and names at their left."""
    left, top = place
    every = [line.rows for line in layout.lines if line.rows is not None]
    parts, effects = max(len(sizes(rows)) for rows in every), max(most_effects(rows) for rows in every)
    cell = layout.cells / (parts * effects + PART * (parts - 1))
    pitch = (effects + PART) * cell
    page.text(left, top + APART, verdict, va="top", fontsize=NORMAL)
    if named:
        page.text(left - GUTTER, top + TITLE - BETWEEN, "n =", ha="right", va="bottom", fontsize=SMALL, color=GREY)
    for part, text in enumerate(usual):
        middle = left + part * pitch + effects * cell / 2
        page.text(middle, top + TITLE - BETWEEN, text, ha="center", va="bottom", fontsize=SMALL, color=GREY)
    top += TITLE
    for line in layout.lines:
        middle = top + line.height / 2
        if line.rows is not None:
            draw_cells(page, line.rows, verdict, (left, top + BETWEEN / 2, cell, line.height - BETWEEN), pitch)
            if named:
                page.text(left - GUTTER, middle, line.text, ha="right", va="center", fontsize=SMALL)
        elif named:
            page.text(MARGIN, middle, line.text, va="center", fontsize=SMALL, color=GREY)
        top += line.height


def most_effects(rows: pd.DataFrame) -> int:
    """How many effects are planted in a contrast's datasets of one size."""
    return int(rows.groupby(["n_first", "n_second"]).size().max())


def draw_cells(
    page: Axes, rows: pd.DataFrame, verdict: str, box: tuple[float, float, float, float], pitch: float
) -> None:
    """The cells of one contrast: box is left, top, width and height of its first cell in mm."""
    left, top, width, height = box
    cells = [
        Rectangle((left + part * pitch + effect * width, top), width, height)
        for part, (_, own) in enumerate(rows.groupby(["n_first", "n_second"], sort=False))
        for effect in range(len(own))
    ]
    collection = PatchCollection(cells, cmap=COLOURS, norm=SCALE, linewidth=0)
    collection.set_array(np.ma.masked_invalid(rows[verdict].to_numpy(dtype=float)))
    collection.set_gid(f"{verdict} {rows['contrast'].iloc[0]}")
    page.add_collection(collection, autolim=False)


def add_colour_bar(figure: Figure, layout: Layout, top: float, settings: Mapping[str, Any]) -> None:
    """The scale of shares, with the level of the tests."""
    axes = axes_at(figure, MARGIN + layout.names + GUTTER, top + 1, min(layout.cells, 60) - 2, 2.2)
    bar = figure.colorbar(ScalarMappable(SCALE, COLOURS), cax=axes, orientation="horizontal")
    bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    bar.set_label("share of simulated datasets", fontsize=SMALL)
    bar.outline.set_visible(False)
    axes.axvline(settings["tests"]["alpha"], color=VERMILION, linewidth=1.0)
