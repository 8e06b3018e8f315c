"""What every command shares: its log file, its progress lines, and errors told without a traceback."""

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_atlas.errors import AtlasError
from attention_atlas.files import full_disk_told

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

    An AtlasError ends the command with exit code 1 and its message, which the log file gets too; any other error is a
    fault of ours, and its traceback is logged.
    """
    logger = logging.getLogger("attention_atlas")
    logger.setLevel(os.environ.get("ATLAS_LOG_LEVEL", "info").upper())
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), *log_files(log)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    try:
        with telling_disk_errors():
            yield logger
    except AtlasError as error:
        if log is not None:
            with suppress(OSError), log.open("a", encoding="utf-8") as file:
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


class LogFile(logging.FileHandler):
    """A log file that warns once if it cannot be written, instead of ending the command."""

    lost = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of logging
        """Tell the first error in one line."""
        if not self.lost:
            self.lost = True
            tell_lost_log(Path(self.baseFilename), sys.exception())

    def close(self) -> None:
        """Close the file; what it could not write is told."""
        try:
            super().close()
        except OSError as error:
            if not self.lost:
                tell_lost_log(Path(self.baseFilename), error)


def log_files(log: Path | None) -> list[logging.Handler]:
    """Return the log file as a list of one; empty if none was asked for or it cannot be opened."""
    if log is None:
        return []
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return [LogFile(log, mode="w", encoding="utf-8")]
    except OSError as error:
        tell_lost_log(log, error)
        return []


def tell_lost_log(log: Path, error: BaseException | None) -> None:
    """Say that a log cannot be written, and why."""
    reason = full_disk_told(log, error) or str(error)
    typer.secho(f"Warning: the log {log} cannot be written: {reason}", fg=typer.colors.YELLOW, err=True)


@contextmanager
def telling_disk_errors() -> Iterator[None]:
    """Turn a full disk, and damage that the netCDF library finds while reading, into an AtlasError."""
    try:
        yield
    except OSError as error:
        reason = full_disk_told(Path(error.filename or "."), error)
        if reason is None:
            raise
        raise AtlasError(f"{error.filename or 'a file'} cannot be written: {reason}") from error
    except RuntimeError as error:
        if not str(error).startswith("NetCDF: "):
            raise
        raise AtlasError(
            f"a netCDF file that this command reads is damaged ({error}); `snakemake` and `dvc pull` make it whole"
        ) from error


def write_traceback(log: Path | None) -> None:
    """Append the traceback of the exception being handled to the log file, where that can be written."""
    if log is not None:
        with suppress(OSError), log.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)


def used_settings(settings: Path, keys: Iterable[str], study: "Study", logger: logging.Logger) -> "Declared":
    """Read a command's declared settings, reduced to what this study uses; log the sample ids that it lacks."""
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
