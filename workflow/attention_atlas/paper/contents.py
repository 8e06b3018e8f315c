"""Contents of the paper set: every file of a run's tables and figures is one that a rule makes, and none is missing."""

import shlex
from pathlib import Path

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_json
from attention_atlas.paper import catalogue

CONTENTS = "contents.json"


def strangers(tables: Path, figures: Path) -> list[Path]:
    """Files of a run's two folders that no rule makes, hidden ones apart; they may be missing as a whole."""
    known = {tables / CONTENTS, *expected(tables, figures)}
    return [path for folder in (tables, figures) for path in visible_files(folder) if path not in known]


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder, hidden ones apart; none where it is not there."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not hidden(path, folder)]


def expected(tables: Path, figures: Path) -> list[Path]:
    """The files that the rules make for a run."""
    return [
        *(tables / name for name in (*catalogue.TABLE_FILES, catalogue.FINDINGS)),
        *(figures / f"{name}.{kind}" for name in catalogue.FIGURES for kind in catalogue.FIGURE_FORMATS),
    ]


def hidden(path: Path, folder: Path) -> bool:
    """Whether a file is one that listings leave out, such as .gitignore."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def refuse(others: list[Path]) -> None:
    """Refuse files that no rule makes, naming the command that removes them."""
    if others:
        command = shlex.join(["rm", *map(str, others)])
        raise AtlasError(f"no rule makes these files; they would be mistaken for results. Remove them: {command}")


def write_contents(output: Path, tables: Path, figures: Path) -> None:
    """List the paper set of a run; refuses files that no rule makes, naming the command that removes them."""
    refuse(strangers(tables, figures))
    missing = [str(path) for path in expected(tables, figures) if not path.exists()]
    if missing:
        raise AtlasError(f"{', '.join(missing)}: not there; `snakemake tables figures` makes it")
    listed = {
        "tables": sorted(path.name for path in expected(tables, figures) if path.parent == tables),
        "figures": sorted(path.name for path in expected(tables, figures) if path.parent == figures),
    }
    write_json(output, listed)
