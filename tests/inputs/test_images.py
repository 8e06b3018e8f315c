"""Reading images: the pixels a person would see, worked out in numpy, or an error that names the file."""

import io
import struct
import zlib

import numpy as np
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.images import read_image, read_mask, upright_size
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ORIENTATION, MAKE = 274, 271
# What the EXIF standard's values say was done to the upright picture, undone.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, 1),
}


def as_rgb(grey):
    return np.stack([grey] * 3, axis=-1)


def over_white(colour, alpha):
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def pixels(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def exif(orientation, further=()):
    tagged = Image.Exif()
    tagged.update({ORIENTATION: orientation, **dict(further)})
    return tagged


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture"


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_is_turned_upright_by_its_orientation(path, orientation):
    Image.fromarray(RGB).save(path, "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(pixels(path), UPRIGHT[orientation](RGB))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_cameras_jpeg_is_turned_upright(path, orientation):
    stored = np.kron(RNG.integers(0, 256, (2, 3)), np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(stored).save(path, "JPEG", quality=100, exif=exif(orientation))
    np.testing.assert_allclose(pixels(path), as_rgb(UPRIGHT[orientation](stored)), atol=3)


def test_sixteen_bit_grey_is_turned_upright_too(path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path, "PNG", exif=exif(6))
    np.testing.assert_array_equal(pixels(path), as_rgb(np.rot90(GREY, -1)))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_read_as_it_is(path, file_format):
    Image.fromarray(RGB).save(path, file_format)
    np.testing.assert_array_equal(pixels(path), RGB)


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP"])
def test_a_palette_is_looked_up(path, file_format):
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    indices = np.arange(48, dtype=np.uint8).reshape(6, 8) % 16
    image = Image.fromarray(indices, mode=None).convert("P")
    image.putpalette(palette.tobytes())
    image.save(path, file_format)
    np.testing.assert_array_equal(pixels(path), palette[indices])


def test_transparent_entries_of_a_palette_are_white_as_far_as_they_are_transparent(path):
    palette = RNG.integers(0, 256, (3, 3), dtype=np.uint8)
    alpha = np.array([0, 128, 255])
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    image.save(path, "PNG", transparency=bytes(alpha.tolist()))
    np.testing.assert_allclose(pixels(path), over_white(palette, alpha)[indices], atol=1)


def test_the_transparent_colour_of_a_gif_is_white(path):
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    palette = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    image.save(path, "GIF", transparency=1)
    np.testing.assert_array_equal(pixels(path), np.array([[200, 0, 0], [255, 255, 255], [0, 0, 200]])[indices])


def test_alpha_is_laid_over_white(path):
    alpha = RNG.integers(0, 256, RGB.shape[:2], dtype=np.uint8)
    alpha[0, :2] = 0, 255
    Image.fromarray(np.dstack([RGB, alpha])).save(path, "PNG")
    found = pixels(path)
    np.testing.assert_allclose(found, over_white(RGB, alpha), atol=1)
    assert found[0, :2].tolist() == [[255, 255, 255], RGB[0, 1].tolist()]


def test_grey_with_alpha_is_laid_over_white(path):
    alpha = RNG.integers(0, 256, GREY.shape, dtype=np.uint8)
    Image.fromarray(np.dstack([GREY, alpha])).save(path, "PNG")
    np.testing.assert_allclose(pixels(path), over_white(as_rgb(GREY), alpha), atol=1)


def test_the_one_transparent_colour_of_a_png_without_alpha_is_white(path):
    stored = RGB.copy()
    stored[1, 2] = 10, 20, 30
    Image.fromarray(stored).save(path, "PNG", transparency=(10, 20, 30))
    expected = stored.copy()
    expected[1, 2] = 255
    np.testing.assert_array_equal(pixels(path), expected)


def test_grey_has_three_equal_channels(path):
    Image.fromarray(GREY).save(path, "PNG")
    np.testing.assert_array_equal(pixels(path), as_rgb(GREY))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range(path, file_format):
    stored = np.array([[0, 128, 129, 257], [256, 32768, 65406, 65535]], dtype=np.uint16)
    Image.fromarray(stored).save(path, file_format)
    # Eight-bit v stands for v * 257; the nearest one wins.
    expected = np.abs(stored[..., None] - np.arange(256) * 257.0).argmin(axis=-1)
    np.testing.assert_array_equal(pixels(path), as_rgb(expected))


def test_one_bit_is_black_and_white(path):
    bits = RNG.integers(0, 2, (5, 11)).astype(bool)
    Image.fromarray(bits).save(path, "PNG")
    np.testing.assert_array_equal(pixels(path), as_rgb(np.where(bits, 255, 0)))


def test_cmyk_is_what_the_inks_leave_of_white(path):
    inks = np.kron(RNG.integers(0, 256, (2, 3, 4)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.frombytes("CMYK", (48, 32), inks.tobytes()).save(path, "JPEG", quality=100, subsampling=0)
    left = 255 - inks.astype(float)
    np.testing.assert_allclose(pixels(path), left[..., :3] * left[..., 3:] / 255, atol=4)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "TIFF"])
def test_several_frames_are_refused(path, file_format):
    frames = [Image.fromarray(np.full((4, 4), grey, dtype=np.uint8)) for grey in (0, 100, 200)]
    frames[0].save(path, file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(AtlasError, match="has 3 frames") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_cameras_picture_with_a_preview_behind_it_is_the_picture(path):
    grey = [np.full((16, 16), value, dtype=np.uint8) for value in (40, 200)]
    first, preview = map(Image.fromarray, grey)
    first.save(path, "MPO", quality=100, save_all=True, append_images=[preview])
    with Image.open(path) as image:
        assert (image.format, len(list(ImageSequence.Iterator(image)))) == ("MPO", 2)
    np.testing.assert_allclose(pixels(path), as_rgb(grey[0]), atol=1)


def encoded(file_format, array=RGB, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, file_format, **options)
    return file.getvalue()


def png_of_size(width, height):
    """A PNG whose header, its checksum right, tells another size than it has."""
    checked = b"IHDR" + struct.pack(">II", width, height) + encoded("PNG")[24:29]
    return encoded("PNG")[:12] + checked + struct.pack(">I", zlib.crc32(checked)) + encoded("PNG")[33:]


def jpeg_with_a_text_as_width():
    """A JPEG to be turned whose EXIF gives the width (tag 256), a number by the standard, as text."""
    return encoded("JPEG", exif=exif(6, {MAKE: "x"})).replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")


def dds_without_a_pixel_format():
    """A DDS whose flags of the pixel format (four bytes from the 80th) are all zero."""
    whole = encoded("DDS")
    return whole[:80] + bytes(4) + whole[84:]


BROKEN = {
    "nothing": b"",
    "text": b"no picture at all",
    "half a PNG": encoded("PNG")[:60],
    "half a JPEG": encoded("JPEG", np.kron(RGB, np.ones((16, 16, 1), dtype=np.uint8)))[:-900],
    "a PNG with a changed byte": encoded("PNG")[:50] + b"\x00\x01" + encoded("PNG")[52:],
    "a PNG of 3.6 gigapixels": png_of_size(60000, 60000),
    "EXIF of a wrong type": jpeg_with_a_text_as_width(),
    "a format that Pillow does not know": dds_without_a_pixel_format(),
    "grey below zero": encoded("TIFF", np.array([[-1, 5]], dtype=np.int32)),
    "grey above 16 bits": encoded("TIFF", np.array([[0, 65536]], dtype=np.int32)),
    "grey in floating point": encoded("TIFF", np.array([[0.5, 1]], dtype=np.float32)),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_whole_picture_is_an_error_naming_it(path, content):
    path.write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as an image (")


def test_a_file_that_is_not_there_is_an_error_naming_it(path):
    with pytest.raises(AtlasError, match="there is no such file") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_an_error_naming_it(tmp_path):
    with pytest.raises(AtlasError) as caught:
        read_image(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n", "PostScript"),
        (b"%PDF-1.7\n", "a PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\n<?xml version="1.0"?><svg/>', "XML, such as SVG"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"GRIB\0\0\0\1", "none of PNG, JPEG"),
        (b"", "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_kind_is_said_to_be_that_and_no_program_is_run_on_it(tmp_path, monkeypatch, content, kind):
    (tmp_path / "bin").mkdir()
    for program in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / "bin" / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        read_image(tmp_path / "a.png")
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'a.png'}: cannot be read as an image (it is {kind}")
    assert told.endswith("; save it anew as PNG or JPEG")
    assert not (tmp_path / "ran").exists()


def test_a_large_image_is_read_without_a_word_and_one_beyond_all_measure_is_an_error(path, monkeypatch):
    path.write_bytes(encoded("PNG"))  # 35 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_image(path).size == (7, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 17)
    with pytest.raises(AtlasError, match="decompression bomb") as caught:
        read_image(path)
    assert len(str(caught.value).splitlines()) == 1


def test_one_pixel_is_an_image_and_none_is_not(path):
    path.write_bytes(encoded("PNG", RGB[:1, :1]))
    np.testing.assert_array_equal(pixels(path), RGB[:1, :1])
    for size in ((0, 5), (5, 0)):
        path.write_bytes(png_of_size(*size))
        with pytest.raises(AtlasError, match="cannot be read as an image"):
            read_image(path)


def test_whether_exif_turned_an_image_is_known(path):
    for orientation in UPRIGHT:
        Image.fromarray(RGB).save(path, "PNG", exif=exif(orientation))
        size = (7, 5) if orientation < 5 else (5, 7)
        assert upright_size(path) == (size, orientation != 1)


MASK = RNG.integers(0, 2, (5, 7)).astype(bool)


@pytest.mark.parametrize(
    "stored",
    [
        MASK,
        MASK * np.uint8(255),
        MASK * np.uint8(1),
        MASK.astype(np.uint16),
        MASK * np.uint16(65535),
        MASK * np.int32(7),
    ],
    ids=["1 bit", "8 bits", "ones", "16 bits, ones", "16 bits", "32 bits"],
)
def test_a_mask_is_set_wherever_it_is_not_black_however_small_its_numbers(path, stored):
    Image.fromarray(stored).save(path, "TIFF" if stored.dtype == np.int32 else "PNG")
    np.testing.assert_array_equal(read_mask(path), MASK)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_mask_is_turned_as_its_image_is(path, orientation):
    Image.fromarray(MASK * np.uint8(255)).save(path, "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(read_mask(path), UPRIGHT[orientation](MASK))


FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "ICO", "DDS", "AVIF", "JPEG2000", "TIFF", "QOI", "SGI", "PCX")
WHOLE = [encoded(name) for name in FORMATS]
WHOLE.append(encoded("JPEG", exif=exif(6, {MAKE: "x"})))
WHOLE += [encoded("PNG", exif=exif(3)), encoded("TIFF", compression="tiff_lzw"), encoded("PNG", GREY)]


@pytest.mark.parametrize("read", [read_image, read_mask])
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_damage_it_is_a_picture_or_an_error_naming_the_file(tmp_path_factory, read, data):
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    told = f"{path}: "
    try:
        found = read(path)
    except AtlasError as error:
        told = str(error)
    else:
        assert (found.dtype == bool) if read is read_mask else (found.mode == "RGB")
    assert told.startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.MOV", "clip.webm"])
def test_a_video_is_refused_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0")
    with pytest.raises(AtlasError, match=f"{name}: is a video; only still images"):
        read_image(tmp_path / name)
