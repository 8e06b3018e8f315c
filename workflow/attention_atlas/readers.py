"""Readers of netCDF and parquet: a file that is damaged is refused by its name before a value of it is used.

A result is compared with the hash that its job kept. Where no hash is known, as for a file that was copied from
elsewhere, the checksums within the file are checked: of every chunk of netCDF, of every page of parquet, and of texts,
which HDF5 keeps apart from its chunks.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_atlas.errors import AtlasError
from attention_atlas.files import is_as_written, told
from attention_atlas.provenance import stamp

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Bytes that are read together, about.
READ_BYTES = 2**25
# The attribute of a file's root with the hash of all texts in it.
TEXTS = "texts_sha256"
# The attribute by which netCDF says that a variable is rounded.
KEPT_BITS = "_QuantizeBitRoundNumberOfSignificantBits"
# Masses are sums of fp32 weights that sum to 1 within 1e-5; damage and mistakes are far beyond this.
MASS_TOLERANCE = 1e-3
# Size and times of the files whose checksums held: a process checks each once.
_sound: dict[Path, tuple[int, ...]] = {}


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Tell what a library says of a damaged file by the file's name, and what to do."""
    try:
        yield
    except AtlasError:
        raise
    except FileNotFoundError:
        raise AtlasError(f"{path}: there is no such file; `snakemake` makes it, `dvc pull` fetches it") from None
    except PermissionError as error:
        raise AtlasError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # libraries of compiled code tell damage by errors of any kind
        raise AtlasError(
            f"{path} is damaged, or not a file of its kind ({told(error)}). Remove it, and snakemake makes it anew, or "
            f"`dvc pull` fetches it: rm {path}"
        ) from error


def read_parquet(path: Path, **options: Any) -> "pd.DataFrame":
    """A parquet table by options of pandas; refuses one that is damaged."""
    import pandas as pd

    with naming_damage(path):
        is_as_written(path)
        return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True, **options)


def open_netcdf(path: Path, **options: Any) -> "xr.DataTree":
    """A netCDF file as a tree by options of xarray; refuses one whose structure is damaged."""
    import xarray as xr

    with naming_damage(path):
        return xr.open_datatree(path, engine="netcdf4", **options)


def check_netcdf(path: Path) -> None:
    """Refuse a netCDF file that is not what its job wrote or, where that is not known, whose checksums do not hold."""
    with naming_damage(path):
        if not is_as_written(path) and _sound.get(path.absolute()) != stamp(str(path)):
            read_through(path)
            _sound[path.absolute()] = stamp(str(path))


def read_through(path: Path) -> None:
    """Read every value of a netCDF file, by which the library checks its chunks; then compare its texts."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        texts: dict[str, list[str]] = {}
        for variable in variables_of(file):
            parts = parts_of(variable)
            if variable.dtype is str:
                texts[f"{variable.group().path.rstrip('/')}/{variable.name}"] = [
                    text for part in parts for text in part.ravel().tolist()
                ]
            else:
                for _ in parts:
                    pass
        expected = getattr(file, TEXTS, None)
    if expected is not None and expected != texts_sha256(texts):
        raise AtlasError(
            f"{path} is damaged: its texts are not those that were written. Remove it, and snakemake makes it anew, or "
            f"`dvc pull` fetches it: rm {path}"
        )


def variables_of(group: Any) -> Iterator[Any]:
    """The variables of a group of a netCDF file and of all groups in it."""
    yield from group.variables.values()
    for inner in group.groups.values():
        yield from variables_of(inner)


def parts_of(variable: Any) -> Iterator[Any]:
    """The values of a netCDF variable, whole chunks of about READ_BYTES at a time."""
    import numpy as np

    if not variable.shape:
        yield np.asarray(variable[...])
        return
    chunks = variable.chunking()
    whole = 1 if isinstance(chunks, str) else chunks[0]
    one = max(1, variable.size // max(1, variable.shape[0])) * (8 if variable.dtype is str else variable.dtype.itemsize)
    step = max(1, READ_BYTES // one // whole) * whole
    for start in range(0, variable.shape[0], step):
        yield variable[start : start + step]


def texts_sha256(texts: Mapping[str, list[str]]) -> str:
    """One hash of texts by the path of their variable, in the order in which they are stored."""
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def check_attention(attention: "xr.DataArray", vision_mass: "xr.DataArray") -> None:
    """Refuse maps that do not sum to their mass on vision tokens, up to their rounding."""
    import numpy as np

    total = attention.sum(("row", "col"), skipna=False, dtype="float64").transpose(*vision_mass.dims)
    tolerance = MASS_TOLERANCE + (2.0 ** -attention.attrs[KEPT_BITS] if KEPT_BITS in attention.attrs else 0)
    wrong = ~np.isclose(total.values, vision_mass.values, rtol=0, atol=tolerance, equal_nan=True)
    if wrong.any():
        first = {dim: int(place) for dim, place in zip(vision_mass.dims, np.argwhere(wrong)[0], strict=True)}
        name = attention["sample"].values[first.pop("sample")] if "sample" in first else ""
        raise AtlasError(
            f"sample {name!r}, {', '.join(f'{dim} {place}' for dim, place in first.items())}: the weights sum to "
            f"{total.values[wrong][0]:.4f}, the mass on vision tokens is {vision_mass.values[wrong][0]:.4f}. Its shard "
            "is damaged: remove it, and snakemake makes it anew"
        )
