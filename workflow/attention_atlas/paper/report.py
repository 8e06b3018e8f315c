"""Report page: a run's findings and its main figures as HTML, for the page that Snakemake's report opens on.

workflow/report/workflow.rst includes findings.md of each run and names this module as its parser.
"""

import base64
import html
from pathlib import Path

from docutils import nodes, parsers
from markdown_it import MarkdownIt

# The figures that stand with the findings; all of them are in the report's category Figures.
MAIN_FIGURES = ("gallery", "grounding", "causal", "layer_profile")


class Parser(parsers.Parser):
    """A parser for docutils' directive `include`: findings.md becomes the page of its run."""

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Add the page as HTML; the path of the included file says which run it is about."""
        document += nodes.raw("", page(inputstring, figures_of(Path(document["source"]))), format="html")


def figures_of(findings: Path) -> list[Path]:
    """The main figures of a run, from the path of its findings, results/paper/tables/<study>/<model>/findings.md."""
    model, study = findings.parent.name, findings.parent.parent.name
    folder = findings.parents[3] / "figures" / study / model
    return [path for path in (folder / f"{name}.png" for name in MAIN_FIGURES) if path.exists()]


def page(findings: str, figures: list[Path]) -> str:
    """Findings (Markdown) as HTML with pictures that the page itself holds: the first before the first section."""
    opening, heading, sections = MarkdownIt("commonmark", {"html": False}).render(findings).partition("<h2>")
    first, further = figures[:1], figures[1:]
    parts = [opening, *map(picture, first), heading, sections, *map(picture, further)]
    return f'<div class="findings">{"".join(parts)}</div>'


def picture(path: Path) -> str:
    """A figure (PNG) as an HTML element with its name."""
    name = html.escape(path.stem.replace("_", " ").capitalize())
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"/><figcaption>{name}</figcaption></figure>'
