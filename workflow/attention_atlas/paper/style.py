"""The look of the figures: sizes of a paper, fonts that are embedded, colours that colour-blind readers tell apart."""

import functools
import textwrap
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType

from attention_atlas.files import replacing
from attention_atlas.paper import fonts

Parameters = ParamSpec("Parameters")
Drawn = TypeVar("Drawn")
MM_PER_INCH = 25.4
SINGLE_COLUMN, DOUBLE_COLUMN, PAGE_HEIGHT = 85.0, 178.0, 230.0  # mm
SMALL, NORMAL = 6.0, 7.0  # pt; nothing is smaller than 6 pt at final size
# Okabe & Ito (2008), without the yellow that white paper swallows.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
GREY, LIGHT_GREY, PALE_GREY = "#6E6E6E", "#BFBFBF", "#EFEFEF"
MAP_COLOURS = "cividis"
# Colour and marker of a verdict, the same in every figure.
VERDICTS = {
    "moved": (VERMILION, "o"),
    "equivalent": (GREEN, "s"),
    "undecided": (BLUE, "D"),
    "no verdict": (GREY, "x"),
}
# Settings of one's own matplotlib must not reach a figure, nor may these reach the user's backend.
DEFAULTS: dict[Any, Any] = {
    name: value
    for name, value in mpl.rcParamsDefault.items()
    if not name.startswith(("backend", "interactive", "toolbar", "webagg", "tk.", "timezone"))
}
HOUSE: dict[Any, Any] = {
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "figure.labelsize": NORMAL,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3,
    "legend.frameon": False,
    "text.parse_math": False,  # a token or a question may hold dollar signs
    "pdf.fonttype": 42,  # TrueType, embedded: what publishers ask for
    "svg.hashsalt": "attention-atlas",
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.hspace": 0.02,
    "figure.constrained_layout.wspace": 0.02,
}


def house_style(draw: Callable[Parameters, Drawn]) -> Callable[Parameters, Drawn]:
    """Decorate a function that draws: in the house style, with fonts for all texts of what it is drawn from."""

    @functools.wraps(draw)
    def styled(*sources: Parameters.args, **further: Parameters.kwargs) -> Drawn:
        families = fonts.families(fonts.texts_of([*sources, further]))
        with mpl.rc_context({**DEFAULTS, **HOUSE, "font.family": families}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `save` tells it once
            return draw(*sources, **further)

    return styled


@dataclass(frozen=True)
class Stroke:
    """How a query type is drawn: colour, line and marker together, so that none is needed alone."""

    colour: str
    line: LineStyleType
    marker: str


STROKES = (
    Stroke(BLUE, "-", "o"),
    Stroke(VERMILION, (0, (4, 1)), "s"),
    Stroke(GREEN, (0, (4, 1, 1, 1)), "^"),
    Stroke(PURPLE, (0, (1.5, 1)), "D"),
    Stroke(ORANGE, (0, (6, 1, 1, 1, 1, 1)), "v"),
    Stroke(SKY, (0, (2, 1)), "P"),
    Stroke(BLACK, (0, (6, 1.5)), "X"),
)


def strokes(query_types: Iterable[str]) -> dict[str, Stroke]:
    """The stroke of each query type, by the alphabet: a type looks the same in every figure of a run."""
    return {name: STROKES[index % len(STROKES)] for index, name in enumerate(sorted(set(query_types)))}


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure of a size in mm."""
    figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def message_figure(message: str) -> Figure:
    """A figure that says why it shows nothing."""
    figure = new_figure(SINGLE_COLUMN, 25)
    figure.text(0.5, 0.5, textwrap.fill(message, 58), ha="center", va="center", color=GREY)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place of the page, in mm from its upper left corner."""
    page_width, page_height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    return figure.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )


def label(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """A small grey text in a panel, at a place in fractions of it unless `transform` says otherwise."""
    axes.text(x, y, text, **{"transform": axes.transAxes, "fontsize": SMALL, "color": GREY, **look})


@house_style
def save(figure: Figure, pdf: Path, png: Path, dpi: int) -> None:
    """Write a figure as PDF and PNG: the same bytes for the same figure, at its own size."""
    with fonts.tells_missing():
        for path, kind, metadata in ((pdf, "pdf", {"CreationDate": None}), (png, "png", {"Software": None})):
            with replacing(path) as partial:
                figure.savefig(partial, format=kind, dpi=dpi, metadata=metadata)


@house_style
def save_sheet(figure: Figure, output: Path, dpi: int) -> None:
    """Write a figure in the format that the name of its file says."""
    with fonts.tells_missing(), replacing(output) as partial:
        figure.savefig(partial, format=output.suffix.removeprefix("."), dpi=dpi)
