"""Read netCDF and parquet; refuse a damaged file by name before any of its values is used.

A result is compared with the hash that its job recorded. Without a record, as for a file copied from elsewhere, its
seal is checked. While values are read, the libraries also check the checksum of every chunk and page.
"""

import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_atlas.errors import AtlasError
from attention_atlas.files import is_as_written, told
from attention_atlas.provenance import stamp
from attention_atlas.seals import is_sealed, is_whole

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

NETCDF = "a netCDF file"
# The attribute by which netCDF says that a variable is rounded.
KEPT_BITS = "_QuantizeBitRoundNumberOfSignificantBits"
# Masses are sums of fp32 weights that sum to 1 within 1e-5; damage and mistakes are far beyond this.
MASS_TOLERANCE = 1e-3
# Size and times of the files whose seals held: a process checks each once.
_whole: dict[Path, tuple[int, ...]] = {}


@contextmanager
def naming_damage(path: Path, kind: str) -> Iterator[None]:
    """Turn a library's error about a damaged file into one that names the file and the cure."""
    try:
        yield
    except AtlasError:
        raise
    except FileNotFoundError:
        raise AtlasError(f"{path}: there is no such file; `snakemake` makes it, `dvc pull` fetches it") from None
    except PermissionError as error:
        raise AtlasError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # compiled libraries report damage by errors of any kind
        raise AtlasError(
            f"{path}: cannot be read as {kind}; it is damaged, or another file ({told(error)}). {cure(path)}"
        ) from error


def cure(path: Path) -> str:
    """Return what to do about a damaged or wrong file."""
    return f"Remove it, and snakemake makes it anew, or `dvc pull` fetches it: {shlex.join(['rm', str(path)])}"


def read_parquet(
    path: Path, texts: Collection[str] = (), numbers: Collection[str] = (), **options: Any
) -> "pd.DataFrame":
    """Read a parquet table with pandas' options; refuse it if it is damaged or lacks one of these columns."""
    import pandas as pd

    with naming_damage(path, "a parquet table"):
        if not is_as_written(path) and is_sealed(path):
            refuse_broken(is_whole(path))
        table = pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True, **options)
    missing = [name for name in (*texts, *numbers) if name not in table]
    is_number = {name: pd.api.types.is_numeric_dtype(table[name]) for name in table}
    wanted = {**dict.fromkeys(texts, False), **dict.fromkeys(numbers, True)}
    # A table without rows may say nothing of its types.
    others = [name for name, number in wanted.items() if len(table) and is_number.get(name, number) != number]
    if missing or others:
        problems = [f"it has no column {name!r}" for name in missing]
        problems += [f"its column {name!r} is of {table[name].dtype}" for name in others]
        raise AtlasError(f"{path} is not the table that is wanted: {', '.join(problems)}. {cure(path)}")
    return table


def open_netcdf(path: Path, **options: Any) -> "xr.DataTree":
    """Open a netCDF file as a tree with xarray's options; refuse it if its structure is damaged."""
    import xarray as xr

    with naming_damage(path, NETCDF):
        return xr.open_datatree(path, engine="netcdf4", **options)


def check_netcdf(path: Path) -> None:
    """Refuse a netCDF file that is not what its job wrote or, where that is not known, whose seal is broken."""
    with naming_damage(path, NETCDF):
        if not is_as_written(path) and _whole.get(path.absolute()) != stamp(str(path)):
            refuse_broken(is_whole(path))
            _whole[path.absolute()] = stamp(str(path))


def refuse_broken(whole: bool) -> None:
    """Refuse a file whose seal does not hold."""
    if not whole:
        raise ValueError("its content is not that of its seal, or it has none")


def check_attention(attention: "xr.DataArray", vision_mass: "xr.DataArray") -> None:
    """Refuse maps that do not sum to their mass on vision tokens, up to their rounding."""
    import numpy as np

    total = attention.sum(("row", "col"), skipna=False).transpose(*vision_mass.dims)
    tolerance = MASS_TOLERANCE + (2.0 ** -attention.attrs[KEPT_BITS] if KEPT_BITS in attention.attrs else 0)
    wrong = ~np.isclose(total.values, vision_mass.values, rtol=0, atol=tolerance, equal_nan=True)
    if wrong.any():
        first = {dim: int(place) for dim, place in zip(vision_mass.dims, np.argwhere(wrong)[0], strict=True)}
        name = str(attention["sample"].values[first.pop("sample")])
        raise AtlasError(
            f"sample {name!r}, {', '.join(f'{dim} {place}' for dim, place in first.items())}: the weights sum to "
            f"{total.values[wrong][0]:.4f}, the mass on vision tokens is {vision_mass.values[wrong][0]:.4f}. Its shard "
            "is damaged: remove it, and snakemake makes it anew"
        )
