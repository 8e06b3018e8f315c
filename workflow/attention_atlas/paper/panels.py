"""Small multiples: one panel per query, on common axes, with what every table figure marks in them."""

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from attention_atlas.paper.columns import MEASURES, SELECTORS
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    MM_PER_INCH,
    NORMAL,
    PAGE_HEIGHT,
    PALE_GREY,
    SINGLE_COLUMN,
    SMALL,
    STROKES,
    Stroke,
    label,
    new_figure,
    strokes,
)
from attention_atlas.paper.texts import percent

LABEL_PITCH = 2.6  # mm that a line of 6 pt needs
LINE = 2.9  # mm that a further line of a panel's title takes
FRAME = 11.5  # mm of a page's width that axis and tick labels take
GAP = 1.5  # mm between panels that stand side by side
BENEATH = 22.0  # mm of a page that axis label and legend take, about
LEAST = 0.7  # share of its height to which a panel may shrink before a wider layout is taken
TOKEN_LENGTH = 10
CHANGING_COUNT = "n on a tick label: number of images from that step on"
UNBROKEN = "\u00a0"  # a space at which no line ends
# (page width, panels side by side), tried in this order: one column of a paper as long as panels stay legible.
LAYOUTS = ((SINGLE_COLUMN, 2), (SINGLE_COLUMN, 3), (DOUBLE_COLUMN, 4), (DOUBLE_COLUMN, 6))
# A mark beyond the values lengthens an axis by up to this share of their span; farther off, the legend names it alone.
REACH = 0.35
# What contrasts are about, with units.
QUANTITIES = {
    **{**MEASURES, "auroc": "AUROC", "ln_enrichment": "ln enrichment", "share": "share of images"},
    **{"js_excess": "Jensen–Shannon divergence (nats)", "centre_excess": "centre shift (cells)"},
}
HANDLE = 9.0  # mm of a legend's width that the sample of a line takes
CUT: dict[str, Any] = {"color": LIGHT_GREY, "linewidth": 0.6, "linestyle": (0, (2, 2)), "zorder": 1}
CEILING: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "zorder": 1}


def by_query(frame: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each (query id, query type), in the table's order."""
    return {(str(key[0]), str(key[1])): rows for key, rows in frame.groupby(["query_id", "query_type"], sort=False)}


def text_width(text: str, size: float = SMALL) -> float:
    """Return the width in mm of one line of text."""
    return measured(text, size, tuple(rcParams["font.family"]))


@lru_cache(maxsize=4096)
def measured(text: str, size: float, family: tuple[str, ...]) -> float:
    """Return the width in mm of one line of text in a font family."""
    font = FontProperties(family=list(family), size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.03 * width * MM_PER_INCH / 72  # hinting moves letters by some per cent


def fold(text: str, width: float, size: float = SMALL, most: int | None = None) -> str:
    """Break a text into lines of at most `width` mm: after spaces, underscores and hyphens, within a word if need be.

    Letters stay as they are. Beyond `most` lines an ellipsis replaces the middle, because names differ at their ends.
    """
    lines = lines_of(text, width, size)
    if most is not None and len(lines) > most:
        kept = bisect_left(
            range(len(text)), True, key=lambda length: len(lines_of(without_middle(text, length), width, size)) > most
        )
        lines = lines_of(without_middle(text, kept - 1), width, size)
    return "\n".join(lines)


def lines_of(text: str, width: float, size: float) -> list[str]:
    """The lines of a text."""
    lines = [""]
    whole = re.sub(rf"[^\S{UNBROKEN}]+", " ", text).strip(" ")
    for part in re.split(r"(?<=[_/ ])|(?<=[^\W\d]-)", whole):
        for piece in [part] if text_width(part.rstrip(), size) <= width else list(part):
            if lines[-1] and text_width((lines[-1] + piece).rstrip(), size) > width:
                lines.append("")
            lines[-1] += piece
    return [line.strip(" ").replace(UNBROKEN, " ") for line in lines]


def without_middle(text: str, length: int) -> str:
    """The first and last letters of a text, `length` in all, around an ellipsis."""
    return f"{text[: length - length // 2]}…{text[len(text) - length // 2 :]}"


@dataclass(frozen=True)
class Grid:
    """Panels on a page: its width and height in mm, its columns and rows of panels, and their titles and counts."""

    width: float
    height: float
    columns: int
    rows: int
    titles: tuple[tuple[str, str], ...]
    shortened: bool = False

    @property
    def panel_width(self) -> float:
        """Width of a panel in mm."""
        return width_of_panel(self.width, self.columns)

    @property
    def remark(self) -> str:
        """What is left out of titles."""
        return "long names are shortened in their middle" if self.shortened else ""

    def is_bottom(self, index: int) -> bool:
        """Whether no panel stands below this one."""
        return index + self.columns >= len(self.titles)


def width_of_panel(page: float, columns: int) -> float:
    """Width in mm of one of `columns` panels side by side."""
    return (page - FRAME) / columns - GAP


def grid_for(
    titles: Iterable[str],
    counts: Iterable[str],
    panel_height: float,
    layouts: Iterable[tuple[float, int]] = LAYOUTS,
    beneath: float = BENEATH,
) -> Grid:
    """The first layout whose panels fit a page: of `panel_height` mm or somewhat less, and lines of titles."""
    names, numbers, every = list(titles), list(counts), [(*layout, None) for layout in layouts]
    for page, most, lines in [*every, *((*every[-1][:2], lines) for lines in (3, 2, 1))]:
        rows = math.ceil(len(names) / min(most, len(names)))
        columns = math.ceil(len(names) / rows)  # rows are about as full
        room = width_of_panel(page, columns)
        folded = [with_count(name, n, room, lines) for name, n in zip(names, numbers, strict=True)]
        further = max(name.count("\n") for name, _ in folded)
        if rows * (LEAST * panel_height + further * LINE) <= PAGE_HEIGHT - beneath:
            break
    height = min(rows * (panel_height + further * LINE), PAGE_HEIGHT - beneath)
    return Grid(page, height, columns, rows, tuple(folded), shortened=lines is not None)


def with_count(title: str, count: str, width: float, most: int | None) -> tuple[str, str]:
    """A panel's title and its number of images: at its right if a line holds both, else as the end of the title."""
    if text_width(title, NORMAL) + text_width(f"  {count}") <= width:
        return fold(title, width, NORMAL), count
    return fold(f"{title}, {count.replace(' ', UNBROKEN)}", width, NORMAL, most), ""


def grid_of_queries(
    queries: Mapping[tuple[str, str], pd.DataFrame],
    panel_height: float,
    layouts: Iterable[tuple[float, int]] = LAYOUTS,
    beneath: float = BENEATH,
) -> Grid:
    """The grid of a panel per query, titled by id, type and number of images."""
    counts = [count_text(rows["n"]) for rows in queries.values()]
    return grid_for([" ".join(query) for query in queries], counts, panel_height, layouts, beneath)


def figure_for(grid: Grid) -> tuple[Figure, SubFigure]:
    """A figure of a grid of panels, and its part that panels and their axis labels go into, above any legend."""
    figure = new_figure(grid.width, min(grid.height + 4, PAGE_HEIGHT))
    # The layout reserves room for a legend or for an axis label of the whole figure, not for both below each other.
    body: Any = figure.subfigures(1, 1)
    return figure, body


def panel_axes(figure: Figure | SubFigure, grid: Grid, share_x: bool = True, share_y: bool = True) -> list[Axes]:
    """An axes per title, with common axes and tick labels at the outer ones alone."""
    places = figure.add_gridspec(grid.rows, grid.columns)
    axes: list[Axes] = []
    for index, (title, count) in enumerate(grid.titles):
        first = axes[0] if axes else None
        panel = figure.add_subplot(
            places[index // grid.columns, index % grid.columns],
            sharey=first if share_y else None,
            sharex=first if share_x else None,
        )
        panel.set_title(title, loc="left", fontsize=NORMAL)
        panel.set_title(count, loc="right", fontsize=SMALL, color=GREY)
        panel.tick_params(labelleft=index % grid.columns == 0 or not share_y)
        if share_x:
            panel.tick_params(labelbottom=grid.is_bottom(index))
        axes.append(panel)
    return axes


def label_values(body: SubFigure, grid: Grid, text: str) -> None:
    """Label the vertical axes, in lines that a page of few panels is high enough for."""
    body.supylabel(fold(text, grid.height - 4, NORMAL), multialignment="center")


def count_text(n: pd.Series) -> str:
    """How many images a panel's values are of: "n = 48", or a range."""
    known = n.dropna()
    if known.empty:
        return "n = 0"
    return f"n = {known.min()}" if known.min() == known.max() else f"n = {known.min()}–{known.max()}"


def has_values(axes: Axes, rows: pd.DataFrame, column: str, width: float) -> bool:
    """Whether a panel of `width` mm has anything to show; where it has not, the panel says why."""
    if rows[column].notna().any():
        return True
    reasons = [text for text in rows.get("interval_note", pd.Series(dtype=str)).unique() if text]
    reason = "; ".join(reasons) or "no image with an answer and a defined map"
    label(axes, 0.5, 0.5, fold(f"no value: {reason}", width - 2), ha="center", va="center")
    return False


def missing_intervals(groups: Mapping[Any, pd.DataFrame], columns: Iterable[str]) -> str:
    """Say why values of a figure have no interval, and in which panels where others have one; empty if all have."""
    values = list(columns)
    why: dict[str, list[str]] = {}
    whole: dict[str, bool] = {}
    for key, rows in groups.items():
        valued, without = rows[values].notna().any(axis=1), lacking(rows, values)
        reasons = "; ".join(in_short(text for text in rows.loc[without, "interval_note"].unique() if text))
        if reasons:
            why.setdefault(reasons, []).append(key if isinstance(key, str) else key[0])
            whole[reasons] = whole.get(reasons, True) and bool(without.sum() == valued.sum())
    told = []
    for reasons, panels in why.items():
        where = [] if len(panels) == len(groups) else [", ".join(dict.fromkeys(panels))]
        where = [*where, *([] if whole[reasons] else ["in places"])]
        told.append(f"no interval{' (' + '; '.join(where) + ')' if where else ''}: {reasons}")
    return "; ".join(told)


def cut_axis(limits: tuple[float, float]) -> str:
    """Say that an axis with these limits leaves out zero; empty if it does not."""
    return "" if limits[0] <= 0 <= limits[1] else "vertical axis cut to the values: it does not begin at 0"


def lacking(rows: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """Mark the rows that have a value without an interval in one of the columns."""
    return pd.concat([rows[name].notna() & rows[f"{name}_low"].isna() for name in columns], axis=1).any(axis=1)


def in_short(reasons: Iterable[str]) -> list[str]:
    """Reasons, once each; those that differ in the number they begin with as one: "3 to 5 image(s); an interval …"."""
    numbers: dict[str, set[int]] = {}
    for reason in reasons:
        text = re.sub(r"^\d+", "", reason)
        number = reason.removesuffix(text)
        numbers.setdefault(text, set()).update([int(number)] if number else [])
    spans = {text: sorted({min(found), max(found)}) if found else [] for text, found in numbers.items()}
    return [" to ".join(map(str, span)) + text for text, span in spans.items()]


def set_value_axis(
    axes: Axes,
    frame: pd.DataFrame,
    columns: Iterable[str],
    least: float,
    marks: Iterable[float] = (),
    above: float = 0.0,
) -> tuple[float, float]:
    """Fit the vertical axis to values and intervals, and return its limits.

    It spans `least` at least, reaches to a mark that is near, and leaves the share `above` of it free for texts.
    """
    names = [name for column in columns for name in (column, f"{column}_low", f"{column}_high") if name in frame]
    values = frame[names].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, least)
    missing = max(least - (high - low), 0.0) / 2
    low, high = low - missing, high + missing
    reach = REACH * (high - low)
    near = [mark for mark in marks if low - reach <= mark <= high + reach]
    bottom, top = min([low, *near]), max([high, *near])
    margin = 0.06 * (top - bottom)
    bottom, top = bottom - margin, top + margin
    top += above * (top - bottom)
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return bottom, top


def draw_profile(axes: Axes, rows: pd.DataFrame, column: str, stroke: Stroke, alpha: float = 0.25, **line: Any) -> None:
    """A quantity by layer with the ribbon of its interval; a bar where there is one layer alone."""
    layers = rows["layer"].astype(int)
    every = max(1, math.ceil(len(rows) / 10))
    axes.plot(
        layers,
        rows[column],
        color=stroke.colour,
        linestyle=stroke.line,
        marker=stroke.marker,
        markevery=every,
        **{"markersize": 2.5, **line},
    )
    low, high = rows[f"{column}_low"], rows[f"{column}_high"]
    if len(rows) == 1:
        axes.vlines(layers, low, high, color=stroke.colour, linewidth=1.5, alpha=0.5)
    else:
        axes.fill_between(layers, low, high, color=stroke.colour, alpha=alpha, linewidth=0)


def set_layer_axis(axes: Axes, layers: Iterable[int], width: float) -> None:
    """Ticks at layers that exist, as many as a panel of `width` mm holds."""
    depth = sorted(set(layers))
    axes.set_xticks(depth[:: math.ceil(len(depth) / max(2, int(width / 4.5)))])
    margin = max(0.5, 0.02 * (depth[-1] - depth[0]))
    axes.set_xlim(depth[0] - margin, depth[-1] + margin)


def mark_layer_bands(axes: Axes, frame: pd.DataFrame, width: float) -> bool:
    """Shade every second band of layers; name them at the upper edge, if `width` mm hold the names (the result)."""
    names, borders = layer_bands(frame, axes.get_xlim())
    scale = width / (borders[-1] - borders[0])
    named = all(
        text_width(f"{name} ") <= scale * (right - left)
        for name, left, right in zip(names, borders, borders[1:], strict=False)
    )
    for order, (name, left, right) in enumerate(zip(names, borders, borders[1:], strict=False)):
        if order % 2:
            axes.axvspan(left, right, color=PALE_GREY, linewidth=0, zorder=0)
        if named:
            upper = axes.get_xaxis_transform()
            label(axes, (left + right) / 2, 0.985, name, transform=upper, ha="center", va="top")
    return named


def layer_bands(frame: pd.DataFrame, ends: tuple[float, float]) -> tuple[list[str], list[float]]:
    """Names of the bands of layers by depth, and their borders on an axis with these ends."""
    bands = frame.drop_duplicates("layer").sort_values("layer")
    depths, names = bands["layer"].astype(int).tolist(), bands["layer_band"].tolist()
    starts = [index for index in range(len(names)) if index == 0 or names[index] != names[index - 1]]
    borders = [ends[0], *((depths[i - 1] + depths[i]) / 2 for i in starts[1:]), ends[1]]
    return [names[start] for start in starts], borders


def band_legend(frame: pd.DataFrame, named: bool) -> list[Patch]:
    """The legend entry of bands of layers where panels are too narrow to name them."""
    names, _ = layer_bands(frame, (0, 0))
    text = f"shaded: every second of the bands {', '.join(names)}"
    return [] if named or len(names) < 2 else [Patch(facecolor=PALE_GREY, linewidth=0, label=text)]


def entropy_cuts(measure: str, num_cells: int, bands: Mapping[str, Any]) -> tuple[list[float], float, str]:
    """The cuts between entropy bands on the scale of a panel, its maximum, and the maximum's name.

    Cuts are for the reference number of cells; for another number N the same shares of ln N are taken (methods §4).
    """
    reference = math.log(bands["reference_cells"])
    if measure == "entropy_normalised":
        return [cut / reference for cut in bands["entropy"]], 1.0, "1"
    highest = math.log(num_cells)
    scale = 1.0 if num_cells == bands["reference_cells"] else highest / reference
    return [cut * scale for cut in bands["entropy"]], highest, f"ln {num_cells} = {highest:.2f}"


def mark_entropy_bands(axes: Axes, cuts: Iterable[float], highest: float) -> None:
    """Lines at the cuts between low, medium and high entropy and at the entropy of a uniform map."""
    for cut in cuts:
        axes.axhline(cut, **CUT)
    axes.axhline(highest, **CEILING)


def entropy_legend(cuts: list[float], highest: float, name: str, limits: tuple[float, float]) -> list[Line2D]:
    """Legend entries of the uniform map and of the cuts; those outside the axis are said to be so."""
    low, high = (f"{cut:.2f}" for cut in cuts)
    inside = any(limits[0] <= cut <= limits[1] for cut in cuts)
    ceiling = f"uniform map: {name}{'' if highest <= limits[1] else ' (above the axis)'}"
    bands = f"low < {low} ≤ medium ≤ {high} < high{'' if inside else ' (off the axis)'}"
    return [Line2D([], [], **CEILING, label=ceiling), Line2D([], [], **CUT, label=bands)]


def ceiling_of(frame: pd.DataFrame) -> float:
    """The entropy of a uniform map, on the scale of a table's measure."""
    return 1.0 if frame["measure"].iloc[0] == "entropy_normalised" else math.log(int(frame["num_cells"].max()))


def measure_label(frame: pd.DataFrame) -> str:
    """The axis label of a table's measure."""
    return ", ".join(MEASURES.get(name, name) for name in frame["measure"].unique())


def shown_map(frame: pd.DataFrame) -> str:
    """Which map a figure is about: "map at the first token of the answer, max over heads"."""
    parts = []
    if "selector" in frame:
        parts += ["map at " + ", ".join(SELECTORS.get(name, name) for name in frame["selector"].unique())]
    if "pooling" in frame:
        parts += [" and ".join(frame["pooling"].unique()) + " over heads"]
    return ", ".join(parts)


def type_legend(query_types: Iterable[str]) -> list[Line2D]:
    """Legend entries of the query types; none where types outnumber the strokes, since titles name them all."""
    found = strokes(query_types)
    return [
        Line2D([], [], color=stroke.colour, linestyle=stroke.line, marker=stroke.marker, markersize=2.5, label=name)
        for name, stroke in found.items()
        if len(found) <= len(STROKES)
    ]


def ribbon_legend(label: str) -> Patch:
    """The legend entry of intervals."""
    return Patch(facecolor=GREY, alpha=0.35, linewidth=0, label=label)


def interval_legend(settings: Mapping[str, Any]) -> Patch:
    """The legend entry of the intervals that every table of a study has."""
    return ribbon_legend(f"{percent(settings['statistics']['confidence'])} BCa interval over images")


def add_legend(figure: Figure, handles: list[Any], title: str, *remarks: str) -> None:
    """A legend below the panels, under a title and remarks; the page grows by it, as far as a page goes."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    for handle in handles:
        handle.set_label(fold(str(handle.get_label()), width - HANDLE))
    told = "\n".join(wrapped(text, width) for text in (title, *remarks) if text)
    for columns in range(min(len(handles), 6), 0, -1):
        legend = figure.legend(
            handles=handles,
            title=told,
            loc="outside lower center",
            ncols=columns,
            handlelength=2.2,
            columnspacing=1.2,
            borderaxespad=0.1,
            alignment="left",
        )
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    grown = height + box.height / figure.dpi * MM_PER_INCH
    figure.set_size_inches(width / MM_PER_INCH, min(grown, PAGE_HEIGHT) / MM_PER_INCH)


def wrapped(text: str, width: float, size: float = SMALL) -> str:
    """A text in lines that a page of `width` mm holds."""
    return fold(text, width - 3, size)


def token_label(token: str, step: int) -> str:
    """A step with its token in quotes as a tick label: "4: “3”"; what cannot be seen is named or escaped."""
    if not token.strip(" "):
        return f"{step}: {'space' if token else 'none'}"
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in token.strip(" "))
    shown = shown if len(shown) <= TOKEN_LENGTH else f"{shown[: TOKEN_LENGTH - 1]}…"
    return f"{step}: “{shown}”"


def token_labels(rows: pd.DataFrame) -> dict[int, str]:
    """Tick labels by step (rows: step, token, n); the number of images wherever it changes along the steps."""
    steps = rows.drop_duplicates("step").sort_values("step")
    counts = steps["n"].astype("Int64")
    changed = counts.ne(counts.shift()).fillna(True)
    changed.iloc[0] = False  # in the title
    labels = {}
    for step, token, n, new in zip(steps["step"], steps["token"], counts, changed, strict=True):
        labels[int(step)] = token_label(str(token), int(step)) + (f", n = {0 if pd.isna(n) else n}" if new else "")
    return labels


def labels_height(groups: Iterable[pd.DataFrame]) -> float:
    """The height in mm that the longest turned tick label of these panels takes."""
    return max(text_width(text) for rows in groups for text in token_labels(rows).values()) + 2


def set_token_axis(axes: Axes, rows: pd.DataFrame, width: float, always: Iterable[int] = ()) -> None:
    """Tick labels of steps (rows: step, token, n), as many as `width` mm holds, those of `always` among them."""
    labels = token_labels(rows)
    every = math.ceil(len(labels) * LABEL_PITCH / width)
    chosen = {step for step in labels if step % every == 0}
    for step in always:
        chosen = {other for other in chosen if abs(other - step) >= every} | {int(step)}
    shown = sorted(chosen)
    axes.set_xticks(shown, [labels[step] for step in shown], rotation=90, fontsize=SMALL)
    axes.set_xlim(min(labels) - 0.5, max(labels) + 0.5)


def answer_steps(steps: pd.DataFrame, query: tuple[str, str]) -> list[int]:
    """The step at which most answers of a query begin; none where no answer was found."""
    rows = steps[(steps["query_id"] == query[0]) & (steps["answer_share"] > 0)]
    return [] if rows.empty else [int(rows.loc[rows["answer_share"].idxmax(), "step"])]
