"""Overlays: a map of token cells drawn over its image, in original pixels, with the boxes of the target."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, withStroke

from attention_atlas.errors import AtlasError, nearest
from attention_atlas.inputs.files import inside
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import BOX, OBJECT_COLUMNS, read_table
from attention_atlas.paper.style import BLUE, SMALL, axes_at
from attention_atlas.paper.texts import printable, wrapped
from attention_atlas.readers import check_netcdf, cure, open_netcdf

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
DARKEST_GREY = 0.45  # black of an image below its map: the map's colours must stay readable over it
FEW_BOXES = 8
DECADES = 2  # of weights that have a colour: less than a hundredth of the figure's largest weight has none
TICK_ROOM = 1.6  # how many times larger the next tick must be for two labels to stand side by side
VERDICTS = {1: "correct", 0: "wrong", -1: "not judged"}


@dataclass(frozen=True)
class Selected:
    """A selected sample: its maps by layer, its image (height, width, 3; 0 to 255), the boxes of its target."""

    sample_id: str
    maps: xr.Dataset
    image: np.ndarray
    boxes: tuple[tuple[float, float, float, float], ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def told(self, name: str) -> Any:
        """An attribute of the sample's node."""
        if name not in self.maps.attrs:
            raise AtlasError(
                f"the selected map of {self.sample_id!r} lacks {name!r}; `snakemake figures` makes it anew"
            )
        return self.maps.attrs[name]


def read_selected(maps: Path, group: str, study: Path) -> list[Selected]:
    """The samples of one group of selected_maps.nc (named as its figure), with what the study holds of them."""
    if not maps.exists():
        raise AtlasError(f"{maps}: there is no such file; `snakemake tables` makes it, `dvc pull` fetches it")
    check_netcdf(maps)
    with open_netcdf(maps) as tree:
        nodes = tree.children[group].children if group in tree.children else {}
        samples = {str(name): node.to_dataset().load() for name, node in nodes.items()}
    for name, dataset in samples.items():
        missing = [part for part in ("map", "entropy", "row_edge", "col_edge", "layer") if part not in dataset]
        if missing or "image" not in dataset.attrs:
            raise AtlasError(
                f"{maps} does not hold selected maps: {name!r} has no {(*missing, 'image')[0]}. {cure(maps)}"
            )
    objects, problems = read_table(study / "objects.csv", OBJECT_COLUMNS, further_columns=True)
    if problems:
        raise AtlasError("\n  ".join([f"{study}: {len(problems)} problem(s)", *problems]))
    return [select(name, dataset, study, objects) for name, dataset in samples.items()]


def select(name: str, maps: xr.Dataset, study: Path, objects: pd.DataFrame) -> Selected:
    """One selected sample with its image and target boxes."""
    image = read_image(inside(study / "images", str(maps.attrs["image"])))
    there = objects[objects["image"] == maps.attrs["image"]].set_index("object_id")
    boxes = []
    for target in filter(None, str(maps.attrs.get("target_object", "")).split("+")):
        if target not in there.index:
            hint = nearest(target, list(there.index)) if len(there) else " The image has no objects."
            raise AtlasError(f"{study / 'objects.csv'}: no object {target!r} of {maps.attrs['image']!r}.{hint}")
        x_min, y_min, x_max, y_max = (float(there.loc[target, edge]) for edge in BOX)
        boxes.append((x_min, y_min, x_max, y_max))
    return Selected(str(maps.attrs.get("sample_id", name)), maps, np.asarray(image), tuple(boxes))


def map_colours() -> ListedColormap:
    """Colours of a map over an image: no weight lets the image through, the largest nearly covers it."""
    strength = np.linspace(0, 1, 256)
    colours = mpl.colormaps["inferno_r"](0.08 + 0.87 * strength)
    colours[:, 3] = 0.9 * strength**0.7
    return ListedColormap(colours, name="overlay")


def show_image(axes: Axes, selected: Selected, faded: bool = False) -> None:
    """The image in its own pixels; `faded` to light grey, to lie under a map."""
    width, height = selected.size
    pixels = selected.image
    if faded:
        grey = pixels @ np.asarray(LUMINANCE) / 255
        pixels = np.repeat(DARKEST_GREY + (1 - DARKEST_GREY) * grey[:, :, None], 3, axis=2)
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal", anchor="N")
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.4, color="#BFBFBF")


def show_map(axes: Axes, weights: xr.DataArray, selected: Selected, scale: LogNorm, smoothing: bool) -> None:
    """A map (row, col) over an image: each cell between its own borders, or blended where that was asked for."""
    row_edge, col_edge = selected.maps["row_edge"].values, selected.maps["col_edge"].values
    look: dict[str, Any] = {"norm": scale, "cmap": map_colours()}
    cells = np.ma.masked_invalid(weights.transpose("row", "col").values)
    if smoothing:
        extent = (col_edge[0], col_edge[-1], row_edge[-1], row_edge[0])
        axes.imshow(cells, extent=extent, interpolation="bicubic", **look)
    else:
        # Rasterised: seams between transparent vector cells show in PDF viewers.
        axes.pcolormesh(col_edge, row_edge, cells, rasterized=True, **look)
    width, height = selected.size
    axes.set(xlim=(0, width), ylim=(height, 0))


def show_boxes(axes: Axes, selected: Selected) -> None:
    """The boxes of the target; thinner where there are many, which would cover image and map."""
    width = 1.0 if len(selected.boxes) <= FEW_BOXES else 0.5
    draw_boxes(axes, selected.boxes, BLUE, width, 2.2 * width)


def draw_boxes(axes: Axes, boxes: Iterable[Iterable[float]], colour: str, width: float, halo_width: float) -> None:
    """Boxes in pixels of the image, in a halo that sets them off from any picture."""
    halo = [withStroke(linewidth=halo_width, foreground="white"), Normal()]
    for x_min, y_min, x_max, y_max in boxes:
        axes.add_patch(
            Rectangle(
                (x_min, y_min),
                x_max - x_min,
                y_max - y_min,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                path_effects=halo,
                clip_on=False,
            )
        )


def map_scale(maps: Iterable[xr.DataArray]) -> LogNorm:
    """Return the one scale of all maps of a figure: logarithmic, `DECADES` up to their largest weight.

    Linear colours would leave every map but the strongest blank; a scale for each map would make one whose largest
    weight is 0.0001 as dark as one of 0.6.
    """
    largest = max((float(weights.max()) for weights in maps if np.isfinite(weights).any()), default=0.0)
    largest = largest if largest > 0 else 1.0
    return LogNorm(largest / 10**DECADES, largest, clip=True)


def colour_bar(figure: Figure, place: tuple[float, float, float, float], scale: LogNorm, label: str) -> Axes:
    """Draw a horizontal colour bar at a place in mm (left, top, width, height), over the grey of an image."""
    axes = axes_at(figure, *place)
    axes.set_facecolor("#E8E8E8")
    bar = figure.colorbar(ScalarMappable(scale, map_colours()), cax=axes, orientation="horizontal")
    bar.set_label(label, fontsize=SMALL, loc="left")
    bar.outline.set_linewidth(0.4)
    lowest, largest = float(scale.vmin or 0), float(scale.vmax or 1)
    powers = [10.0**power for power in range(-40, 1) if lowest <= 10.0**power < largest / TICK_ROOM]
    bar.set_ticks([*powers, largest], labels=[f"{value:.2g}" for value in (*powers, largest)])
    axes.tick_params(labelsize=SMALL, length=2, width=0.4)
    return axes


def question_lines(selected: Selected, width: int, most: int) -> list[str]:
    """The question and the answer with its verdict, wrapped to `width` characters, at most `most` lines each.

    Of a long answer the beginning is told; its verdict always.
    """
    correct = int(selected.told("correct"))
    verdict = VERDICTS[correct]
    if correct == 0:
        verdict += f", expected: {selected.told('expected_answer')}"
    question = " ".join(str(selected.told("query")).split())
    answer = " ".join(str(selected.told("generated_text")).split())
    told = f"“{answer}” ({verdict})"
    while len(wrapped(told, width, most + 1)) > most and answer:
        answer = answer.rpartition(" ")[0] or answer[: len(answer) // 2]
        told = f"“{answer} …” ({verdict})"
    return [*wrapped(question, width, most), *wrapped(told, width, most)]


def place_text(selected: Selected) -> str:
    """The step, its token, and the pooling of a sample's maps."""
    token = printable(str(selected.told("token_text")).strip()) or "space"
    return f"step {selected.told('step')}, token “{token}”"


def cells_text(selected: Selected) -> str:
    """The token grid of a sample's maps: "12 × 19 cells"."""
    return f"{selected.maps.sizes['row']} × {selected.maps.sizes['col']} cells"


def entropy_text(selected: Selected, layer: int) -> str:
    """The entropy of a layer's map: "H = 2.31 nats"; why there is none where there is none."""
    entropy = float(selected.maps["entropy"].sel(layer=layer))
    return f"H = {entropy:.2f} nats" if math.isfinite(entropy) else "no entropy: vision mass 0 or not finite"


def vision_mass_text(selected: Selected, layer: int) -> str:
    """The share of a layer's attention that is on the image, mean over heads: "vision mass 0.62"."""
    mass = float(selected.maps["vision_mass"].sel(layer=layer))
    if not math.isfinite(mass):
        return "vision mass undefined"
    return "vision mass <0.01" if 0 < mass < 0.005 else f"vision mass {mass:.2f}"


def target_text(selected: Selected) -> str:
    """What to say where a sample has no target."""
    return "" if selected.boxes else "no target"


def bar_label(settings: Mapping[str, Any], samples: list[Selected], scale: LogNorm) -> str:
    """What the colours of a figure's maps mean, on two lines."""
    return (
        f"attention weight, {pooling_text(settings, samples)}; box: target\n"
        f"one logarithmic scale for all maps; no colour below {scale.vmin:.2g}"
    )


def pooling_text(settings: Mapping[str, Any], samples: list[Selected]) -> str:
    """How the maps of samples were pooled over heads, and drawn."""
    pooled = " and ".join(sorted({str(selected.told("pooling")) for selected in samples}))
    smooth = ", cells blended" if settings["figures"]["smoothing"] else ""
    return f"{pooled} over heads{smooth}"
