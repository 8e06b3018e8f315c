"""What every command shares: its log file, its progress lines, and errors told without a traceback."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.errors import AtlasError

Log = Annotated[Path | None, typer.Option(help="File for the log of this command.")]
Settings = Annotated[str, typer.Option(help="The sections of the settings that this command reads, as JSON.")]


@contextmanager
def logged(log: Path | None) -> Iterator[logging.Logger]:
    """Log to `log` and the terminal; the level is the environment's ATLAS_LOG_LEVEL (default info).

    An AtlasError ends the command with exit code 1 and its message, which the log file gets too; any other error is a
    fault of ours, and its traceback is logged.
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
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"Error: {error}\n")
        logger.debug("where it was raised", exc_info=True)
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


def parse(settings: str, *needed: str) -> dict[str, Any]:
    """The settings of a command, from the JSON of its option, which must hold the sections `needed`."""
    try:
        sections = json.loads(settings)
    except json.JSONDecodeError as error:
        raise AtlasError(f"--settings is not JSON ({error}): {settings!r}") from None
    missing = [name for name in needed if not isinstance(sections, dict) or name not in sections]
    if missing:
        raise AtlasError(f"--settings lacks the section(s) {', '.join(missing)} of config/config.yaml: {settings!r}")
    return sections
