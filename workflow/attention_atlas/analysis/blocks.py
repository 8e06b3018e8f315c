"""Blocks: the part of a variable that is in memory at once. Bounds memory, changes no number."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

# Of the variable as it is stored; what is worked out of it in fp64 takes several times as much.
BLOCK_BYTES = 2**23


def blocks(values: xr.DataArray, dims: tuple[str, ...] = ("sample",), most: int | None = None) -> Iterator[dict]:
    """Places, for `isel`, that cover a variable in blocks of at most `most` bytes (BLOCK_BYTES).

    A block is a run of labels of the first of `dims`; where one label has more bytes, a run of the next of `dims`
    within it. A single label of the last one may have more.
    """
    most = most or BLOCK_BYTES
    dim, *inner = dims
    size = values.sizes[dim]
    one = values.nbytes // max(1, size)
    if one > most and inner:
        for place in range(size):
            here = {dim: slice(place, place + 1)}
            yield from ({**here, **rest} for rest in blocks(values.isel(here), tuple(inner), most))
        return
    at_once = max(1, most // max(1, one))
    yield from ({dim: slice(start, start + at_once)} for start in range(0, size, at_once))


def image_blocks(values: xr.DataArray, image: np.ndarray, most: int | None = None) -> Iterator[np.ndarray]:
    """Places of samples that cover a variable in blocks of whole images, of at most `most` bytes (BLOCK_BYTES).

    `image` (sample,) labels; images in the order in which they come up. One image may have more.
    """
    samples_at_once = (most or BLOCK_BYTES) * len(image) // max(1, values.nbytes)
    index, _ = pd.factorize(image)
    order, ends = np.argsort(index, kind="stable"), np.cumsum(np.bincount(index)).tolist()
    start = 0
    for end, following in zip(ends, [*ends, np.inf][1:], strict=True):
        if following - start > samples_at_once:
            yield order[start:end]
            start = end
