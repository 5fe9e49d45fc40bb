"""The pixels that come out are those that went in, by arithmetic on the source.

Kinds of files that `test_decode` has with a pixel or two are here where size, order or company
of pixels matters: orientations among each other, interlacing, pictures of several bands, 1 x 1.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from photos import encoded, exif_with, photograph
from PIL import Image, ImageCms

from preprocess.decode import decode_image
from preprocess.transforms import Resize, Transform, render
from tests.bombs.pngs import COLOUR, COLOUR_ALPHA, GREY, GREY_ALPHA, PALETTE, whole

RANDOM = np.random.default_rng(0)
#: More than `colours` takes at once, so that there are several bands and a rest.
LARGE = (1100, 1500)


def decoded(data: bytes, wanted: Transform | None = None) -> np.ndarray:
    """As wanted, or at full size."""
    if wanted is None:
        looked = decode_image(data, max_pixels=40_000_000, transforms=[])
        wanted = Transform(looked.height, looked.width, Resize.STRETCH)
    return render(decode_image(data, max_pixels=40_000_000, transforms=[wanted]), wanted)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return (colour * (alpha / 255) + (255 - alpha)).round()


def png(samples: np.ndarray, colour: int, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """Of (height, width, samples)."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return whole(header, [*chunks, (b"IDAT", zlib.compress(rows(samples, depth), 1))])


def interlaced(samples: np.ndarray, colour: int, *chunks: tuple[bytes, bytes], depth: int) -> bytes:
    """The same in the seven passes of Adam7: PNG 1.2, 2.6."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    parts = [samples[y::down, x::across] for x, y, across, down in [*passes, (0, 1, 1, 2)]]
    data = b"".join(rows(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 1)
    return whole(header, [*chunks, (b"IDAT", zlib.compress(data))])


def rows(samples: np.ndarray, depth: int) -> bytes:
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in flat)
    packed = np.packbits(flat, axis=1) if depth == 1 else flat.astype(np.uint8)
    return b"".join(b"\0" + row.tobytes() for row in packed)


# Orientations.

#: How an upright picture is stored, so that the value of the tag stands it up again.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def eight(format_name: str, upright: np.ndarray, **options: object) -> list[bytes]:
    return [
        encoded(
            Image.fromarray(np.ascontiguousarray(store(upright))),
            format_name,
            exif=exif_with(orientation),
            **options,
        )
        for orientation, store in STORED.items()
    ]


@pytest.mark.parametrize(("format_name", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_eight_orientations_without_loss_give_one_result(format_name, options):
    upright = np.asarray(photograph(45, 30))

    for file in eight(format_name, upright, **options):
        assert np.array_equal(decoded(file), upright)


def test_eight_orientations_of_a_jpeg_give_one_result_but_for_its_loss():
    upright = np.asarray(photograph(48, 32))

    for file in eight("JPEG", upright, quality=95, subsampling=0):
        differences = np.abs(decoded(file).astype(int) - upright)
        assert differences.max() <= 8
        assert differences.mean() <= 1


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize(
    ("format_name", "options", "most"), [("PNG", {}, 1), ("JPEG", {"quality": 95}, 6)]
)
def test_eight_orientations_that_are_resized_give_one_result(format_name, options, most, resize):
    files = eight(format_name, np.asarray(photograph(320, 208)), **options)
    wanted = Transform(40, 50, resize)

    first, *others = (decoded(file, wanted).astype(int) for file in files)

    assert first.shape == (40, 50, 3)
    for other in others:
        assert np.abs(other - first).max() <= most


# Interlacing.


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (8, 8), (33, 17)])
@pytest.mark.parametrize(
    ("colour", "depth", "count"),
    [(GREY, 1, 1), (GREY, 8, 1), (GREY, 16, 1), (COLOUR, 8, 3), (COLOUR, 16, 3)],
    ids=["1 bit", "grey", "16-bit grey", "RGB", "16-bit RGB"],
)
def test_an_interlaced_png_has_the_pixels_of_its_seven_passes(size, colour, depth, count):
    samples = RANDOM.integers(0, 2**depth, (*size, count))
    expected = {1: samples * 255, 8: samples, 16: samples >> 8}[depth]

    assert np.array_equal(
        decoded(interlaced(samples, colour, depth=depth)), np.broadcast_to(expected, (*size, 3))
    )


# Pictures of several bands.


def test_a_large_transparent_picture_is_laid_on_white_in_every_row():
    samples = RANDOM.integers(0, 256, (*LARGE, 4))
    expected = on_white(samples[..., :3], samples[..., 3:])

    assert np.abs(decoded(png(samples, COLOUR_ALPHA)) - expected).max() <= 1


def test_a_large_grey_picture_with_alpha_is_laid_on_white_in_every_row():
    samples = RANDOM.integers(0, 256, (*LARGE, 2))
    expected = on_white(samples[..., :1], samples[..., 1:])

    assert np.abs(decoded(png(samples, GREY_ALPHA)) - expected).max() <= 1


def test_a_large_picture_with_one_transparent_colour_has_it_white_in_every_row():
    samples = RANDOM.integers(0, 2, (*LARGE, 3)) * 200
    expected = samples.copy()
    expected[(samples == (200, 0, 200)).all(-1)] = 255
    one = (b"tRNS", struct.pack(">3H", 200, 0, 200))

    assert np.array_equal(decoded(png(samples, COLOUR, one)), expected)


@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_large_picture_of_a_palette_has_its_colours_in_every_row(with_alpha):
    palette, alpha = RANDOM.integers(0, 256, (256, 3)), RANDOM.integers(0, 256, 256)
    samples = RANDOM.integers(0, 256, (*LARGE, 1))
    chunks = [(b"PLTE", palette.astype(np.uint8).tobytes())]
    expected = palette[samples[..., 0]]
    if with_alpha:
        chunks.append((b"tRNS", alpha.astype(np.uint8).tobytes()))
        expected = on_white(expected, alpha[samples])

    assert np.abs(decoded(png(samples, PALETTE, *chunks)) - expected).max() <= with_alpha


def test_large_grey_of_16_bits_keeps_its_high_byte_and_its_transparent_level_in_every_row():
    samples = RANDOM.integers(0, 4, (*LARGE, 1)) * 0x3412
    expected = samples >> 8
    expected[samples == 0x3412] = 255
    level = (b"tRNS", struct.pack(">H", 0x3412))

    assert np.array_equal(
        decoded(png(samples, GREY, level, depth=16)), np.broadcast_to(expected, (*LARGE, 3))
    )


@pytest.mark.parametrize("write", [png, interlaced], ids=["straight", "interlaced"])
def test_large_colour_of_16_bits_has_its_one_transparent_colour_white_in_every_row(write):
    samples = 0x3412 + RANDOM.integers(0, 2, (*LARGE, 3, 2)) @ [0x0100, 1]
    colour = [0x3513, 0x3412, 0x3513]
    expected = samples >> 8
    expected[(samples == colour).all(-1)] = 255
    one = (b"tRNS", struct.pack(">3H", *colour))

    assert np.array_equal(decoded(write(samples, COLOUR, one, depth=16)), expected)


def test_a_large_cmyk_jpeg_has_the_colours_of_its_inks_in_every_row():
    inks = np.repeat(np.repeat(RANDOM.integers(0, 256, (70, 94, 4)), 16, 0), 16, 1)
    data = encoded(
        Image.fromarray(inks.astype(np.uint8), "CMYK"), "JPEG", quality=100, subsampling=0
    )
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255

    assert np.abs(decoded(data) - expected).max() <= 4


def test_grey_pixels_are_resized_as_colours_are():
    grey = photograph(300, 200).convert("L")

    for size in ((40, 30), (400, 50), (400, 300)):
        wanted = Transform(*size, Resize.STRETCH)
        one = decoded(encoded(grey, "PNG"), wanted)
        assert np.array_equal(one, decoded(encoded(grey.convert("RGB"), "PNG"), wanted))


# One pixel.

ONE = {
    "PNG, RGB": (encoded(Image.new("RGB", (1, 1), (10, 200, 90)), "PNG"), (10, 200, 90)),
    "PNG, grey": (encoded(Image.new("L", (1, 1), 77), "PNG"), (77, 77, 77)),
    "PNG, half transparent": (
        encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 51)), "PNG"),
        (255, 204, 204),
    ),
    "GIF": (encoded(Image.new("P", (1, 1)).convert("RGB"), "GIF"), (0, 0, 0)),
    "WebP": (
        encoded(Image.new("RGB", (1, 1), (10, 200, 90)), "WEBP", lossless=True),
        (10, 200, 90),
    ),
    "JPEG": (
        encoded(Image.new("RGB", (1, 1), (10, 200, 90)), "JPEG", quality=100),
        (10, 200, 90),
    ),
    "JPEG, grey": (encoded(Image.new("L", (1, 1), 77), "JPEG"), (77, 77, 77)),
    "JPEG, CMYK": (encoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("resize", Resize)
def test_one_pixel_fills_what_is_wanted(name, resize):
    data, colour = ONE[name]
    most = 2 if name.startswith("JPEG") else 0

    assert np.abs(decoded(data).astype(int) - colour).max() <= most
    filled = decoded(data, Transform(4, 4, resize)).astype(int)
    assert np.abs(filled - colour).max() <= most


# What is left alone.


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
def test_a_colour_profile_changes_nothing(format_name):
    image, options = photograph(32, 24), {"lossless": True} if format_name == "WEBP" else {}
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

    with_profile = encoded(image, format_name, icc_profile=lab, **options)

    assert lab[:4] not in encoded(image, format_name, **options)
    assert np.array_equal(decoded(with_profile), decoded(encoded(image, format_name, **options)))


def test_gamma_changes_nothing():
    samples = RANDOM.integers(0, 256, (5, 7, 3))

    assert np.array_equal(
        decoded(png(samples, COLOUR, (b"gAMA", struct.pack(">I", 100_000)))), samples
    )
