"""Reading images: any common file as the RGB pixels a person would see."""

import mimetypes
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from attention_atlas.errors import AtlasError

# What Pillow raises on files that are damaged, of an unknown format, or far too large: RuntimeError from its AVIF and
# DDS readers, struct.error where it rewrites EXIF of a wrong type.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, RuntimeError, struct.error, Image.DecompressionBombError)


def read_image(path: Path) -> Image.Image:
    """An image as RGB, upright by its EXIF orientation, transparency over white, 16-bit scaled to 8.

    Animations are refused: which frame was meant is not for us to guess. Raises AtlasError naming the file.
    """
    if str(mimetypes.guess_type(path)[0]).startswith("video/"):
        raise AtlasError(f"{path}: is a video; only still images can be asked about, so save the frames that are meant")
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # a camera's JPEG with its preview or depth behind the photograph
                raise AtlasError(f"{path}: has {frames} frames; save the frame that is meant as a file of its own")
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise AtlasError(f"{path}: there is no such file") from None
    except UNREADABLE as error:
        raise AtlasError(f"{path}: cannot be read as an image ({error}); save it anew as PNG or JPEG") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Pixels of any mode as RGB."""
    if image.mode == "F":
        raise ValueError("floating-point grey has no agreed white")
    if image.mode.startswith("I"):
        return grey_from_numbers(np.asarray(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def grey_from_numbers(values: np.ndarray) -> Image.Image:
    """16-bit or 32-bit grey values as 8-bit: 65535 is white (plain conversion would clip at 255)."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey values from {values.min()} to {values.max()}, expected 0 to 65535")
    return Image.fromarray(np.round(values.astype(np.float64) / 257).astype(np.uint8))
