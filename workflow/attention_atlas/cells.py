"""Token cells and pixels: which part of the original image each vision token covers."""

import numpy as np


def cell_edges(cells: int, pixels: int) -> np.ndarray:
    """The `cells` + 1 borders of token cells along one side of an image of `pixels`, in original pixels.

    The image is resized as a whole before it is cut into equal patches, so the cells are equal parts of the original.
    """
    return np.linspace(0, pixels, cells + 1)
