"""Borders of token cells in closed form."""

import numpy as np
import pytest
from attention_atlas.cells import cell_edges


@pytest.mark.parametrize(("cells", "pixels"), [(8, 448), (14, 448), (1, 7), (7, 640), (3, 10)])
def test_cells_are_equal_parts_of_the_whole_side(cells, pixels):
    edges = cell_edges(cells, pixels)
    assert edges.shape == (cells + 1,)
    np.testing.assert_allclose(edges, [pixels * number / cells for number in range(cells + 1)], rtol=1e-15)
    assert (edges[0], edges[-1]) == (0, pixels)


def test_a_448_px_image_in_8_cells_has_cells_of_56_px():
    assert cell_edges(8, 448).tolist() == [0, 56, 112, 168, 224, 280, 336, 392, 448]
