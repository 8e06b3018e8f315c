"""Vision tokens: where in a prompt they stand, found by token id and held against the images' grids."""

from collections.abc import Sequence

import numpy as np

from attention_atlas.errors import AtlasError


def image_of_token(
    input_ids: Sequence[int], image_token: int, markers: tuple[int, int], num_tokens: Sequence[int], sample_id: str
) -> np.ndarray:
    """Which image each position of a prompt, (length,), is a vision token of: 1 for the first, 0 for text.

    `num_tokens` of each image, in their order (t * h * w / merge^2 where they come as grids of patches). Raises
    AtlasError, naming the sample, unless the image tokens form one span of that length for each image, between the
    start and the end marker.
    """
    ids = np.asarray(input_ids)
    is_image = ids == image_token
    found, wanted = int(is_image.sum()), sum(num_tokens)
    if found != wanted:
        have = "its image has" if len(num_tokens) == 1 else f"its {len(num_tokens)} images have"
        raise AtlasError(f"sample {sample_id!r}: {found} image tokens in the prompt, {have} {wanted}")
    borders = np.flatnonzero(np.diff(np.concatenate([[False], is_image, [False]]).astype(int)))
    spans = borders.reshape(-1, 2)
    if (spans[:, 1] - spans[:, 0]).tolist() != list(num_tokens):
        told = ", ".join(f"{first} to {end - 1}" for first, end in spans)
        raise AtlasError(f"sample {sample_id!r}: the image tokens are not one span an image (positions {told})")
    number = np.zeros(len(ids), dtype=np.int64)
    for image, (first, end) in enumerate(spans, start=1):
        if first == 0 or end == len(ids) or (ids[first - 1], ids[end]) != markers:
            raise AtlasError(f"sample {sample_id!r}: the image tokens do not stand between a start and an end marker")
        number[first:end] = image
    return number
