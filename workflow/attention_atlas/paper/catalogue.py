"""What this phase makes: tables, their formats, and figures with what each is drawn from.

Imported while Snakemake parses, so nothing heavy is imported here, and a figure's module only when it is drawn.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attention_atlas.errors import AtlasError, nearest

TABLE_FORMATS: dict[str, tuple[str, ...]] = {
    "table1": ("csv", "md", "tex"),
    "steps": ("csv", "md", "tex"),
    "ablation": ("csv", "md", "tex"),
    "layer_profile": ("csv",),
    "layer_step": ("csv",),
    "vision_mass": ("csv",),
    "pooling_profile": ("csv",),
    "contrasts": ("csv", "md", "tex"),
    "claims": ("csv", "md", "tex"),
    "validation": ("csv", "md", "tex"),
    "power": ("csv",),
    "conditions": ("csv", "md", "tex"),
    "clusters": ("csv", "md", "tex"),
    "cluster_plane": ("csv",),
    "shortcut": ("csv", "md", "tex"),
    "grounding": ("csv", "md", "tex"),
    "grounding_profile": ("csv",),
    "heads": ("csv", "md", "tex"),
    "head_auroc": ("csv",),
    "causal": ("csv", "md", "tex"),
    "causal_curves": ("csv",),
    "causal_support": ("csv",),
    "causal_validation": ("csv",),
}
TABLES = tuple(TABLE_FORMATS)
PRINTED_TABLES = tuple(name for name, formats in TABLE_FORMATS.items() if len(formats) > 1)
DATA_TABLES = tuple(name for name in TABLES if name not in PRINTED_TABLES)
TABLE_FILES = tuple(f"{name}.{kind}" for name, formats in TABLE_FORMATS.items() for kind in formats)
TABLE_MODULES = ("paper.tables", "paper.columns", "paper.texts")
NUMBERS_MODULES = ("paper.numbers", *TABLE_MODULES)
SUMMARY_MODULES = ("paper.summary", "paper.columns", "paper.texts")
TABLE_SETTINGS = ("statistics.confidence",)
FINDINGS_MODULES = ("paper.findings", *TABLE_MODULES)
FINDINGS = "findings.md"
FIGURE_FORMATS = ("pdf", "png")
CONTENTS_MODULES = ("paper.contents", "paper.catalogue")
FINDINGS_TABLES = (
    *("table1", "contrasts", "clusters", "shortcut", "grounding", "heads", "causal", "causal_support"),
    *("conditions", "validation", "causal_validation"),
)
NUMBERS_TABLES = ("table1", "ablation", "contrasts", "grounding", "heads", "causal")


@dataclass(frozen=True)
class Sources:
    """What a figure is drawn from: published tables, keys of the settings, and the selected maps or not.

    `modules` are those whose code it alone, or with few others, has.
    """

    tables: tuple[str, ...]
    settings: tuple[str, ...]
    maps: bool = False
    modules: tuple[str, ...] = ()


INTERVALS = ("figures.dpi", "statistics.confidence")
OVER_IMAGES = ("figures.dpi", "figures.smoothing")
FIGURES: dict[str, Sources] = {
    "layer_profile": Sources(("layer_profile",), ("bands.entropy", "bands.reference_cells", *INTERVALS)),
    "step_progression": Sources(("steps",), INTERVALS),
    "layer_step": Sources(("layer_step", "steps"), ("figures.dpi",)),
    "vision_mass": Sources(("vision_mass",), INTERVALS),
    "pooling": Sources(("ablation", "pooling_profile"), INTERVALS),
    "grounding": Sources(("grounding_profile",), INTERVALS),
    "head_auroc": Sources(("head_auroc",), ("figures.dpi",)),
    "contrasts": Sources(("contrasts",), INTERVALS, modules=("paper.verdict_rows",)),
    "causal": Sources(("causal",), INTERVALS, modules=("paper.verdict_rows",)),
    "deletion": Sources(("causal_curves",), INTERVALS),
    "power": Sources(("power", "contrasts"), ("figures.dpi", "tests.alpha")),
    "clusters": Sources(("cluster_plane", "clusters"), ("figures.dpi", "tests.alpha")),
    "gallery": Sources((), OVER_IMAGES, maps=True),
    "layers_page": Sources((), OVER_IMAGES, maps=True),
    "best_worst": Sources((), OVER_IMAGES, maps=True),
}
MAP_FIGURES = tuple(name for name, sources in FIGURES.items() if sources.maps)
TABLE_FIGURES = tuple(name for name in FIGURES if name not in MAP_FIGURES)
FIGURE_SETTINGS = tuple(sorted({key for sources in FIGURES.values() for key in sources.settings}))
TABLE_FIGURE_MODULES = ("paper.columns", "paper.fonts", "paper.panels", "paper.style", "paper.texts")
MAP_FIGURE_MODULES = (
    "paper.fonts",
    "paper.overlay",
    "paper.sample_grid",
    "paper.style",
    "paper.texts",
    *("folding", "inputs.answers", "inputs.phrasing"),
    "inputs.conditions",
    "inputs.images",
    "inputs.study",
    "inputs.views",
)


def known_table(name: str) -> str:
    """The name of a table, or an error with the nearest one."""
    if name not in TABLES:
        raise AtlasError(f"unknown table {name!r}.{nearest(name, list(TABLES))}")
    return name


def figure_sources(name: str) -> Sources:
    """What a figure is drawn from, or an error with the nearest name."""
    if name not in FIGURES:
        raise AtlasError(f"unknown figure {name!r}.{nearest(name, list(FIGURES))}")
    return FIGURES[name]


def figure_tables(name: str) -> tuple[str, ...]:
    """The published tables that a figure reads."""
    return figure_sources(name).tables


def figure_settings(name: str) -> tuple[str, ...]:
    """The keys of the settings that a figure reads."""
    return figure_sources(name).settings


def figure_modules(name: str) -> tuple[str, ...]:
    """The modules whose code is in a figure, named as in `provenance.module_path`."""
    sources = figure_sources(name)
    return (f"paper.{name}", *sources.modules, *(MAP_FIGURE_MODULES if sources.maps else TABLE_FIGURE_MODULES))


def draw_function(name: str) -> Callable[..., Any]:
    """The function that draws a figure from its sources; imports that figure's module alone."""
    figure_sources(name)
    return importlib.import_module(f"attention_atlas.paper.{name}").draw
