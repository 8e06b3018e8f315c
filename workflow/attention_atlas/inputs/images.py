"""Reading images: any common file as the RGB pixels a person would see."""

import mimetypes
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from attention_atlas.errors import AtlasError
from attention_atlas.inputs.files import file_problem

# Formats that are sure from their first bytes and that Pillow decodes by itself: PostScript would be run by
# Ghostscript, whatever the file is called.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO", "DDS", "QOI", "SGI", "PCX")
# How files begin that are often taken for images.
OTHERS = (
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML, such as SVG"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file with `git lfs pull`"),
)
HEIF = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
ORIENTATION = 0x0112
# What Pillow raises on files that are damaged, of an unknown format, or far too large: RuntimeError from its AVIF and
# DDS readers, struct.error where it rewrites EXIF of a wrong type.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, RuntimeError, MemoryError, ArithmeticError, LookupError),
    *(struct.error, Image.DecompressionBombError),
)

T = TypeVar("T")


def read_image(path: Path) -> Image.Image:
    """An image as RGB, upright by its EXIF orientation, transparency over white, 16-bit scaled to 8.

    Animations are refused: which frame was meant is not for us to guess. Raises AtlasError naming the file.
    """
    return read_upright(path, to_rgb)[0]


def read_mask(path: Path) -> np.ndarray:
    """Return the set pixels of a mask, (height, width) booleans, upright as its image is. Raises AtlasError."""
    return read_upright(path, to_mask)[0]


def upright_size(path: Path) -> tuple[tuple[int, int], bool]:
    """Return (width, height) of an image, read as a whole, and whether its EXIF orientation turns or mirrors it."""
    image, turned = read_upright(path, to_rgb)
    return image.size, turned


def read_upright(path: Path, convert: Callable[[Image.Image], T]) -> tuple[T, bool]:
    """Return a converted image, and whether its EXIF orientation had it turned or mirrored before."""
    if str(mimetypes.guess_type(path)[0]).startswith("video/"):
        raise AtlasError(f"{path}: is a video; only still images can be asked about, so save the frames that are meant")
    problem = file_problem(path)
    if problem:
        raise AtlasError(f"{path}: {problem}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage that Pillow reads past, and of sizes below its limit
            with Image.open(path, formats=FORMATS) as image:
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":  # a camera's JPEG with its preview or depth behind it
                    raise AtlasError(f"{path}: has {frames} frames; save the frame that is meant as a file of its own")
                image.load()
                if 0 in image.size:
                    raise ValueError(f"it has {image.width} x {image.height} pixels")
                turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
                return convert(ImageOps.exif_transpose(image)), turned
    except UnidentifiedImageError:
        why = what_it_is(path)
    except UNREADABLE as error:
        why = str(error) or type(error).__name__
    raise AtlasError(f"{path}: cannot be read as an image ({why}); save it anew as PNG or JPEG")


def what_it_is(path: Path) -> str:
    """Say what a file is that is no image of a known format."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start[4:8] == b"ftyp" and start[8:12] in HEIF:
        return "it is HEIC"
    for beginning, name in OTHERS:
        if start.startswith(beginning):
            return f"it is {name}"
    return f"it is none of {', '.join(FORMATS)}" if start else "it is empty"


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


def to_mask(image: Image.Image) -> np.ndarray:
    """The pixels of any mode that are not black, as booleans."""
    return np.asarray(image.convert("L")) > 0
