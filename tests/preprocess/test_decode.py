"""Good files of every kind are read right; the scale of a JPEG is what its transforms need."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from photos import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    encoded,
    exif_with,
    photograph,
    png,
    psnr,
)
from PIL import Image

from preprocess.decode import decode_image
from preprocess.transforms import Picture, Resize, Transform, render

MAX_PIXELS = 40_000_000


def decode(data: bytes, *transforms: Transform) -> Picture:
    return decode_image(data, max_pixels=MAX_PIXELS, transforms=transforms)


def pixels(data: bytes) -> list[list[int]]:
    """The first row, [r, g, b] each."""
    rows: list[list[list[int]]] = whole(decode(data)).tolist()
    return rows[0]


def whole(picture: Picture) -> np.ndarray:
    return render(picture, Transform(picture.height, picture.width, Resize.STRETCH))


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF"])
def test_each_accepted_format_gives_its_pixels_and_its_name(format_name):
    original = photograph(64, 48).quantize(32, dither=0).convert("RGB")
    data = encoded(original, format_name)
    full = Transform(48, 64, Resize.STRETCH)

    picture = decode(data, full)

    assert (picture.format, picture.width, picture.height) == (format_name, 64, 48)
    assert psnr(render(picture, full), np.asarray(original)) > 25


def test_a_multi_picture_jpeg_of_a_phone_is_its_first_picture():
    first, second = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (32, 24), "blue")
    data = encoded(first, "MPO", save_all=True, append_images=[second])

    picture = decode(data)

    assert (picture.format, picture.width, picture.height) == ("JPEG", 64, 48)
    assert np.abs(whole(picture) - [254, 0, 0]).max() <= 1


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]

    for format_name in ("GIF", "PNG"):
        data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])
        assert pixels(data)[0] == [255, 0, 0]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert pixels(data)[0] == [255, 0, 0]


#: What the eight orientations mean, in numpy, from the stored array to the upright one.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(format_name, orientation):
    stored = np.asarray(photograph(48, 32))
    options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
    data = encoded(
        Image.fromarray(stored), format_name, exif=exif_with(orientation), **options[format_name]
    )
    expected = UPRIGHT[orientation](stored)
    full = Transform(*expected.shape[:2], Resize.STRETCH)

    picture = decode(data, full)

    assert (picture.height, picture.width) == expected.shape[:2]
    assert psnr(render(picture, full), expected) > 38


def test_an_orientation_behind_the_pixels_of_a_png_is_applied():
    data = encoded(Image.new("RGB", (3, 2)), "PNG", exif=exif_with(6))
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]

    picture = decode(moved)

    assert (picture.width, picture.height) == (2, 3)


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense", exif_with(0), exif_with(9)],
    ids=["cut short", "nonsense", "orientation 0", "orientation 9"],
)
def test_damaged_exif_does_not_cost_the_photo(exif):
    picture = decode(encoded(photograph(48, 32), "JPEG", exif=exif))

    assert (picture.width, picture.height, picture.orientation) == (48, 32, 1)


TRANSPARENT_FIRST = (b"tRNS", b"\0")
RED_BLUE = (b"PLTE", b"\xff\0\0\0\0\xff")
WHITE, BLACK = [255] * 3, [0] * 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            png((2, 1), 8, COLOUR_ALPHA, bytes([255, 0, 0, 128, 0, 0, 255, 0])),
            [[255, 127, 127], WHITE],
            id="RGBA",
        ),
        pytest.param(
            png((2, 1), 8, GREY_ALPHA, bytes([0, 255, 0, 51])), [BLACK, [204] * 3], id="LA"
        ),
        pytest.param(
            png((2, 1), 8, PALETTE, b"\0\1", RED_BLUE, TRANSPARENT_FIRST),
            [WHITE, [0, 0, 255]],
            id="palette",
        ),
        pytest.param(
            png((2, 1), 8, PALETTE, b"\0\1", RED_BLUE, (b"tRNS", bytes([51]))),
            [[255, 204, 204], [0, 0, 255]],
            id="palette, partly",
        ),
        pytest.param(
            png((2, 1), 8, COLOUR, bytes([1, 2, 3, 1, 2, 4]), (b"tRNS", b"\0\1\0\2\0\3")),
            [WHITE, [1, 2, 4]],
            id="RGB with one transparent colour",
        ),
        pytest.param(
            png((4, 1), 2, GREY, b"\x1b", (b"tRNS", b"\0\1")),
            [BLACK, WHITE, [170] * 3, WHITE],
            id="2-bit grey with one transparent level",
        ),
        pytest.param(
            png((2, 1), 4, GREY, b"\x0d", (b"tRNS", b"\0\0")),
            [WHITE, [221] * 3],
            id="4-bit grey with one transparent level",
        ),
        pytest.param(
            png((2, 1), 16, GREY, b"\x12\x34\x12\x35", (b"tRNS", b"\x12\x34")),
            [WHITE, [0x12] * 3],
            id="16-bit grey with one transparent level",
        ),
        pytest.param(
            png(
                (3, 1),
                16,
                COLOUR,
                b"\x12\x34" * 3 + b"\x12\x34\x12\x34\x12\x35" + b"\x34\x12" * 3,
                (b"tRNS", b"\x12\x34" * 3),
            ),
            [WHITE, [0x12] * 3, [0x34] * 3],
            id="16-bit colour with one transparent colour",
        ),
    ],
)
def test_transparency_is_laid_on_white(data, expected):
    assert pixels(data) == expected


def test_a_transparent_gif_and_a_transparent_webp_are_laid_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))

    assert pixels(encoded(clear, "GIF"))[0] == WHITE
    assert pixels(encoded(clear, "WEBP", lossless=True, exact=True))[0] == WHITE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            png((3, 1), 16, GREY, struct.pack(">3H", 0, 0x80FF, 0xFFFF)),
            [BLACK, [128] * 3, WHITE],
            id="16-bit grey",
        ),
        pytest.param(
            png((1, 1), 16, COLOUR, struct.pack(">3H", 0x01FF, 0x80FF, 0xFFFF)),
            [[1, 128, 255]],
            id="16-bit RGB",
        ),
        pytest.param(
            png((1, 1), 16, GREY_ALPHA, struct.pack(">2H", 0x80FF, 0xFFFF)),
            [[128] * 3],
            id="16-bit grey and alpha",
        ),
        pytest.param(png((4, 1), 1, GREY, b"\xa0"), [WHITE, BLACK, WHITE, BLACK], id="1 bit"),
        pytest.param(png((1, 1), 8, GREY, b"\x42"), [[0x42] * 3], id="grey"),
        pytest.param(
            png((2, 1), 1, PALETTE, b"\x40", RED_BLUE), [[255, 0, 0], [0, 0, 255]], id="palette"
        ),
    ],
)
def test_every_depth_becomes_8_bit_rgb(data, expected):
    assert pixels(data) == expected


def test_a_grey_jpeg_becomes_rgb():
    assert pixels(encoded(Image.new("L", (16, 16), 200), "JPEG"))[0] == [200] * 3


def test_a_cmyk_jpeg_written_by_adobe_rules_has_its_colours():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # Pillow writes it inverted, as Adobe does

    assert pixels(encoded(red, "JPEG"))[0] == [255, 0, 0]


def test_a_ycck_jpeg_has_its_colours():
    # libjpeg takes YCC for 255 minus the stored C, M, Y; Adobe stores 255 minus the ink: so YCC
    # is that of the inks. Pillow writes no YCCK: the planes are written as if they were CMYK,
    # and the transform in the Adobe marker is set to 2 afterwards.
    inks = Image.new("RGB", (16, 16), (255 - 230, 255 - 60, 255 - 20))
    y, cb, cr = (band.getextrema()[0] for band in inks.convert("YCbCr").split())
    planes = Image.new("CMYK", (16, 16), (255 - y, 255 - cb, 255 - cr, 0))
    data = bytearray(encoded(planes, "JPEG", quality=100))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2

    assert np.abs(np.array(pixels(bytes(data))[0]) - [230, 60, 20]).max() <= 3


JPEG_4000_BY_500 = encoded(Image.new("RGB", (4000, 500)), "JPEG")


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        pytest.param([Transform(62, 500, Resize.STRETCH)], (1000, 125), id="stretch: both sides"),
        pytest.param([Transform(63, 100, Resize.STRETCH)], (2000, 250), id="stretch: height"),
        pytest.param([Transform(31, 31, Resize.CROP)], (500, 63), id="crop: the shorter side"),
        pytest.param([Transform(62, 62, Resize.CROP)], (1000, 125), id="crop: a larger one"),
        pytest.param([Transform(250, 250, Resize.PAD)], (500, 63), id="pad: the longer side"),
        pytest.param([Transform(300, 300, Resize.PAD)], (1000, 125), id="pad: a larger one"),
        pytest.param([Transform(300, 300, Resize.CROP)], (4000, 500), id="more than half"),
        pytest.param(
            [Transform(31, 31, Resize.CROP), Transform(62, 62, Resize.CROP)],
            (1000, 125),
            id="several: the most demanding",
        ),
        pytest.param([], (500, 63), id="none"),
    ],
)
def test_a_jpeg_is_decoded_at_the_least_scale_that_leaves_twice_what_is_wanted(
    transforms, expected
):
    picture = decode(JPEG_4000_BY_500, *transforms)

    assert picture.image.size == expected
    assert (picture.width, picture.height) == (4000, 500)


def test_a_jpeg_that_would_take_too_much_memory_is_decoded_no_larger_than_is_wanted():
    data = encoded(Image.new("RGB", (7300, 5470)), "JPEG", progressive=True, subsampling=0)

    picture = decode(data, Transform(600, 600, Resize.CROP))

    assert picture.image.size == (913, 684)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        pytest.param(Transform(200, 25, Resize.CROP), (500, 63), id="tall: an eighth will do"),
        pytest.param(Transform(25, 200, Resize.CROP), (4000, 500), id="wide: all of it"),
    ],
)
def test_the_scale_is_chosen_for_the_upright_picture(orientation, transform, expected):
    data = encoded(Image.new("RGB", (4000, 500)), "JPEG", exif=exif_with(orientation))

    picture = decode(data, transform)

    assert (picture.width, picture.height) == (500, 4000)
    assert picture.image.size == expected


@pytest.mark.parametrize("size", [(1600, 1200), (1603, 1201)], ids=["round", "odd"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("resize", Resize)
def test_a_reduced_decode_looks_like_a_full_one(size, orientation, resize):
    stored = photograph(*size)
    data = encoded(stored, "JPEG", quality=90, exif=exif_with(orientation))
    transform = Transform(140, 150, resize)
    upright = (size[1], size[0]) if orientation == 6 else size
    with Image.open(BytesIO(data)) as image:
        full = Picture(image.convert("RGB"), size, orientation, "JPEG", *upright)

    picture = decode(data, transform)

    assert picture.image.size[0] <= size[0] // 2
    assert psnr(render(picture, transform), render(full, transform)) > 50


def test_sizes_rendered_from_one_decode_are_those_of_decodes_of_their_own():
    data = encoded(photograph(1600, 1200), "JPEG", quality=90)
    small, large = Transform(64, 64, Resize.CROP), Transform(384, 384, Resize.CROP)

    together = decode(data, small, large)

    assert np.array_equal(render(together, large), render(decode(data, large), large))
    assert psnr(render(together, small), render(decode(data, small), small)) > 50


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF"])
def test_what_follows_the_image_is_ignored(format_name):
    data = encoded(photograph(64, 48), format_name)

    trailed = decode(data + b"\0 some camera's own \xff\xd9 bytes" * 100)

    assert np.array_equal(whole(trailed), whole(decode(data)))


def test_a_decode_leaves_pillows_own_limit_as_it_was():
    before = Image.MAX_IMAGE_PIXELS

    decode_image(encoded(Image.new("RGB", (8, 8)), "PNG"), max_pixels=64, transforms=[])

    assert before == Image.MAX_IMAGE_PIXELS
