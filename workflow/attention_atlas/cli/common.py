"""What every command shares: its log file, its progress lines, and errors told without a traceback."""

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_atlas.errors import AtlasError

if TYPE_CHECKING:
    from attention_atlas.config import ModelEntry
    from attention_atlas.declared import Declared
    from attention_atlas.inputs.study import Study

Log = Annotated[Path | None, typer.Option(help="File for the log of this command.")]
SETTINGS, MODELS = Path("config/config.yaml"), Path("config/models.yaml")
Settings = Annotated[Path, typer.Option(help="The settings, a YAML or JSON file.")]
Models = Annotated[Path, typer.Option(help="The models and their entries, a YAML or JSON file.")]


@contextmanager
def logged(log: Path | None) -> Iterator[logging.Logger]:
    """Log to `log` and the terminal; the level is the environment's ATLAS_LOG_LEVEL (default info).

    An AtlasError ends the command with exit code 1 and its message; the log file gets the traceback too.
    """
    logger = logging.getLogger("attention_atlas")
    logger.setLevel(os.environ.get("ATLAS_LOG_LEVEL", "info").upper())
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="w", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    try:
        yield logger
    except AtlasError as error:
        write_traceback(log)
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    except Exception:
        write_traceback(log)
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()


def write_traceback(log: Path | None) -> None:
    """Append the traceback of the exception being handled to the log file."""
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)


def used_settings(settings: Path, keys: Iterable[str], study: "Study", logger: logging.Logger) -> "Declared":
    """Read the declared settings of a command, of them what this study uses; tells of sample ids that it lacks."""
    from attention_atlas.declared import read_declared
    from attention_atlas.inputs.used_settings import left_out, used_by

    given = read_declared(settings, keys)
    used = used_by(study, given)
    for told in left_out(given, used):
        logger.warning("%s", told)
    return used


def model_entry(models: Path, model: str) -> "ModelEntry":
    """Read the entry of a model, or fail with the nearest name."""
    from attention_atlas.config import load_models
    from attention_atlas.errors import nearest

    known = load_models(models)
    if model not in known:
        raise AtlasError(f"{models}: unknown model {model!r}.{nearest(model, list(known))}")
    return known[model]
