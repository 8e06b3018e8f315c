"""Vision tokens: where in a prompt they stand, found by token id and held against the image's grid."""

from collections.abc import Sequence

import numpy as np

from attention_atlas.errors import AtlasError


def vision_token_mask(
    input_ids: Sequence[int], image_token: int, vision_start: int, vision_end: int, num_tokens: int, sample_id: str
) -> np.ndarray:
    """Which positions of a prompt, (length,), are the vision tokens of its one image.

    `num_tokens` is t * h * w / merge^2 of the image's grid. Raises AtlasError, naming the sample, unless exactly that
    many image tokens form one span between a start and an end marker.
    """
    ids = np.asarray(input_ids)
    found = np.flatnonzero(ids == image_token)
    if len(found) != num_tokens:
        raise AtlasError(f"sample {sample_id!r}: {len(found)} image tokens in the prompt, its image has {num_tokens}")
    first, last = found[0], found[-1]
    if last - first + 1 != num_tokens:
        raise AtlasError(f"sample {sample_id!r}: the image tokens are not one span (positions {first} to {last})")
    if first == 0 or last + 1 == len(ids) or ids[first - 1] != vision_start or ids[last + 1] != vision_end:
        raise AtlasError(f"sample {sample_id!r}: the image tokens do not stand between a start and an end marker")
    return ids == image_token
