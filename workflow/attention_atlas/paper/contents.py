"""Contents of the paper set: every file of a run's tables and figures is one that a rule makes, and none is missing."""

import json
import shlex
from pathlib import Path

from attention_atlas.errors import AtlasError
from attention_atlas.paper import catalogue

CONTENTS = "contents.json"


def strangers(tables: Path, figures: Path) -> list[Path]:
    """Files of a run's two folders that no rule makes, hidden ones apart; they may be missing as a whole."""
    known = {tables / CONTENTS, *expected(tables, figures)}
    found = [path for folder in (tables, figures) for path in sorted(folder.rglob("*")) if not hidden(path, folder)]
    return [path for path in found if path.is_file() and path not in known]


def expected(tables: Path, figures: Path) -> list[Path]:
    """The files that the rules make for a run."""
    return [
        *(tables / name for name in (*catalogue.TABLE_FILES, catalogue.FINDINGS)),
        *(figures / f"{name}.{kind}" for name in catalogue.FIGURES for kind in catalogue.FIGURE_FORMATS),
    ]


def hidden(path: Path, folder: Path) -> bool:
    """Whether a file is one that listings leave out, such as .gitignore."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def write_contents(output: Path, tables: Path, figures: Path) -> None:
    """List the paper set of a run; refuses files that no rule makes, naming the command that removes them."""
    others = strangers(tables, figures)
    if others:
        command = shlex.join(["rm", *map(str, others)])
        raise AtlasError(f"no rule makes these files; they would be mistaken for results. Remove them: {command}")
    missing = [str(path) for path in expected(tables, figures) if not path.exists()]
    if missing:
        raise AtlasError(f"{', '.join(missing)}: not there; `snakemake tables figures` makes it")
    listed = {
        "tables": sorted(path.name for path in expected(tables, figures) if path.parent == tables),
        "figures": sorted(path.name for path in expected(tables, figures) if path.parent == figures),
    }
    output.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
