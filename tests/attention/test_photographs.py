"""Photographs of many sizes on native grids: each cell lies over the pixels that the file of maps says."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from attention_atlas.attention.extraction import ExtractionSettings, extract_shard
from attention_atlas.config import ModelEntry
from attention_atlas.inputs.images import read_image

from .test_extraction import write_rows

IMAGES = Path("data/photographs/images")
# Sides in pixels over 32, rounded (halves to even): rows, columns.
GRIDS = {
    "astronaut.png": (16, 16),
    "camera.png": (16, 16),
    "chelsea.png": (9, 14),
    "coffee.png": (12, 19),
    "coins.png": (9, 12),
    "rocket.png": (13, 11),
    "text.png": (5, 14),
}


def cell_means(grey, row_edge, col_edge):
    """Mean of an image (height, width) between cell edges that cut pixels, from its integral over both sides."""
    integral = np.pad(grey.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    for axis, edges in enumerate((row_edge, col_edge)):
        at = np.arange(integral.shape[axis])
        integral = np.apply_along_axis(lambda line, at=at, edges=edges: np.interp(edges, at, line), axis, integral)
    areas = np.diff(row_edge)[:, None] * np.diff(col_edge)[None]
    return np.diff(np.diff(integral, axis=0), axis=1) / areas


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, random_folder):
    """One token of every photograph on its native grid, by image."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "images").symlink_to(IMAGES.resolve())
    asked = {"query_id": "q", "query_type": "free", "query": "Where?"}
    write_rows(root, [{"sample_id": name[:-4], "image": name, **asked} for name in GRIDS])
    (root / "objects.csv").write_text("image,object_id,label,colour,x_min,y_min,x_max,y_max\n")
    entry = ModelEntry(path=str(random_folder), dtype="float32", grid="native", device="cpu")
    settings = ExtractionSettings.from_sections(
        {"extraction": {"batch_size": 4, "threads": 1}, "generation": {"max_new_tokens": 1}, "capture": {}}
    )
    extract_shard(root, "000", 1, "random", entry, settings, root / "scratch", root / "000.nc")
    with xr.open_datatree(root / "000.nc", engine="netcdf4") as tree:
        found = [child.to_dataset().load() for child in tree.children.values()]
    return {str(one["image"].values[i]): one.isel(sample=i) for one in found for i in range(one.sizes["sample"])}


@pytest.mark.parametrize("image", GRIDS)
def test_cells_of_the_maps_cover_the_pixels_that_their_tokens_saw(image, extracted, tiny_native):
    """What a token saw is as bright, to a few grey levels, as the photograph between the edges of its cell."""
    maps = extracted[image]
    assert (maps.sizes["row"], maps.sizes["col"]) == GRIDS[image]
    picture = read_image(IMAGES / image)
    seen = tiny_native.processor.image_processor(images=[picture], return_tensors="pt")
    tokens = seen["pixel_values"].numpy().reshape(*GRIDS[image], -1)
    grey = np.asarray(picture, dtype=float).mean(axis=2)
    expected = cell_means(grey, maps["row_edge"].values, maps["col_edge"].values)
    np.testing.assert_allclose((tokens.mean(axis=2) + 1) / 2 * 255, expected, atol=4)
    shifted = np.roll(expected, 1, axis=1)
    assert np.abs(shifted - expected).max() > 16  # a shift by one cell would be seen
