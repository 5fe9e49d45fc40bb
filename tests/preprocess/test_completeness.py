"""A file of which pixels are missing is refused, however well it ends; a whole one is not."""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate

import numpy as np
import pytest
from photos import encoded, photograph
from PIL import Image

from preprocess.decode import DAMAGED, DecodeError, decode_image
from preprocess.transforms import Resize, Transform, render
from tests.bombs import jpegs
from tests.bombs.pngs import BLACK_WHITE, COLOUR, COLOUR_ALPHA, GREY, GREY_ALPHA, PALETTE, whole

PHOTO = photograph(320, 240)
END_OF_IMAGE = b"\xff\xd9"
COMMENT = b"\xff\xfe\0\6abcd"


def decoded(data: bytes) -> np.ndarray:
    """At full size."""
    looked = decode_image(data, max_pixels=1_000_000, transforms=[])
    full = Transform(looked.height, looked.width, Resize.STRETCH)
    return render(decode_image(data, max_pixels=1_000_000, transforms=[full]), full)


def is_damaged(data: bytes) -> bool:
    """At full size and at the smallest."""
    codes = set()
    for wanted in (Transform(1, 1, Resize.STRETCH), Transform(240, 320, Resize.STRETCH)):
        try:
            decode_image(data, max_pixels=1_000_000, transforms=[wanted])
            codes.add("")
        except DecodeError as error:
            codes.add(error.code)
    assert len(codes) == 1
    return codes == {DAMAGED}


# PNG.

KINDS = {
    "1 bit": (1, GREY, 1),
    "4-bit grey": (4, GREY, 1),
    "grey": (8, GREY, 1),
    "16-bit grey": (16, GREY, 1),
    "palette": (1, PALETTE, 1),
    "grey and alpha": (8, GREY_ALPHA, 2),
    "RGB": (8, COLOUR, 3),
    "16-bit RGB": (16, COLOUR, 3),
    "RGBA": (8, COLOUR_ALPHA, 4),
}
#: Columns and rows of Adam7's passes: first and step, each.
PASSES = [
    ((0, 8), (0, 8)), ((4, 8), (0, 8)), ((0, 4), (4, 8)), ((2, 4), (0, 4)), ((0, 2), (2, 4)),
    ((1, 2), (0, 2)), ((0, 1), (1, 2)),
]  # fmt: skip


def rows(width: int, height: int, bits: int, interlaced: bool) -> list[bytes]:
    """As they come: all samples 0."""
    passes = PASSES if interlaced else [((0, 1), (0, 1))]
    sizes = [(len(range(width)[x::dx]), len(range(height)[y::dy])) for (x, dx), (y, dy) in passes]
    return [
        bytes(1 + -(-across * bits // 8)) for across, down in sizes if across for _ in range(down)
    ]


def png(size: tuple[int, int], kind: str, pixels: bytes, interlaced: bool = False) -> bytes:
    depth, colour, _ = KINDS[kind]
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    palette = [BLACK_WHITE] if colour == PALETTE else []
    return whole(header, [*palette, (b"IDAT", zlib.compress(pixels))])


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 1), (3, 2), (32, 1), (9, 9), (32, 32)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_png_that_lacks_a_row_is_damaged_and_one_with_all_or_more_is_not(kind, size, interlaced):
    depth, _, samples = KINDS[kind]
    all_rows = rows(*size, depth * samples, interlaced)

    for count in {0, 1, len(all_rows) // 2, len(all_rows) - 1} - {len(all_rows)}:
        assert is_damaged(png(size, kind, b"".join(all_rows[:count]), interlaced))
    assert is_damaged(png(size, kind, b"".join(all_rows)[:-1], interlaced))
    for more in (b"", all_rows[-1], bytes(1000)):
        assert decoded(png(size, kind, b"".join(all_rows) + more, interlaced)).max() in (0, 255)


def test_a_png_whose_pixels_are_whatever_a_reader_may_take_for_missing_is_not_damaged():
    for level in range(256):
        assert decoded(png((1, 1), "grey", bytes([0, level]))).tolist() == [[[level] * 3]]
    for level in (0, 128):
        assert decoded(png((1, 1), "1 bit", bytes([0, level]))).max() == level // 128 * 255
    for shift in range(256):
        row = bytes((shift + at) % 256 for at in range(200))
        assert decoded(png((200, 1), "grey", b"\0" + row))[0, :, 0].tolist() == list(row)


@pytest.mark.parametrize("side", [0, 4], ids=["width", "height"])
def test_an_animated_png_whose_first_frame_is_smaller_than_the_picture_is_damaged(side):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    kind = data.index(b"fcTL")
    control = bytearray(data[kind : kind + 30])
    control[8 + side : 12 + side] = struct.pack(">I", 4)
    smaller = data[:kind] + control + struct.pack(">I", zlib.crc32(control)) + data[kind + 34 :]

    assert not is_damaged(data)
    assert is_damaged(smaller)


# GIF.


def gif(size: tuple[int, int], blocks: bytes) -> bytes:
    """Of four levels of grey, codes of three bits: 4 begins, 5 ends."""
    screen = struct.pack("<6sHHBBB", b"GIF89a", *size, 0x81, 0, 0)
    palette = b"".join(bytes([level]) * 3 for level in (0, 100, 200, 255))
    return screen + palette + struct.pack("<BHHHHBB", 0x2C, 0, 0, *size, 0, 2) + blocks


def codes(*each: int) -> bytes:
    bits = sum(code << 3 * at for at, code in enumerate(each))
    return bits.to_bytes(-(-3 * len(each) // 8), "little")


@pytest.mark.parametrize("behind", [b"", b";", b"; some camera's own bytes" * 20])
def test_a_gif_that_lacks_a_pixel_is_damaged_whatever_follows(behind):
    def of(*each: int) -> bytes:
        block = codes(*each)
        return gif((2, 1), bytes([len(block)]) + block + b"\0" + behind)

    assert decoded(of(4, 3, 2, 5))[0, :, 0].tolist() == [255, 200]
    assert decoded(of(4, 3, 2))[0, :, 0].tolist() == [255, 200]
    assert is_damaged(of(4, 3, 5))
    assert is_damaged(of(4, 3))
    assert is_damaged(of(4, 5))
    assert is_damaged(of())


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_a_gif_that_lacks_blocks_of_its_first_frame_is_damaged(kept, interlace):
    still = PHOTO.convert("P")
    data = encoded(still, "GIF", interlace=interlace)
    first = data.index(b",\0\0\0\0") + 11
    ends = [first]
    while data[ends[-1]]:
        ends.append(ends[-1] + 1 + data[ends[-1]])
    cut = data[: ends[int(len(ends) * kept)]] + data[ends[-1] : -1]

    assert not is_damaged(data)
    assert is_damaged(cut + data[data.index(b",\0\0\0\0") :])


# WebP.


def chunks_of(webp: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at < len(webp):
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        found.append((webp[at : at + 4], webp[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def webp_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("mode", "options", "part"),
    [
        pytest.param("RGB", {}, b"VP8 ", id="lossy"),
        pytest.param("RGB", {"lossless": True}, b"VP8L", id="lossless"),
        pytest.param("RGBA", {}, b"VP8 ", id="lossy with alpha, colours"),
        pytest.param("RGBA", {}, b"ALPH", id="lossy with alpha, alpha"),
    ],
)
def test_a_webp_that_lacks_pixels_is_damaged_though_its_sizes_are_right(mode, options, part, kept):
    picture = PHOTO.copy()
    if mode == "RGBA":
        picture.putalpha(photograph(320, 240, seed=1).convert("L"))
    chunks = chunks_of(encoded(picture, "WEBP", **options))
    cut = [(kind, data[: int(len(data) * kept)] if kind == part else data) for kind, data in chunks]

    assert not is_damaged(webp_of(chunks))
    assert cut != chunks
    assert is_damaged(webp_of(cut))


# JPEG.

AT_ONCE = {
    "4:2:0": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0, "optimize": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 7}),
    "grey": ("L", {"quality": 30}),
    "CMYK": ("CMYK", {}),
}


@pytest.mark.parametrize("ending", [END_OF_IMAGE, COMMENT + END_OF_IMAGE, b"\xff\x02", b"\xff\xd8"])
@pytest.mark.parametrize("kind", AT_ONCE)
def test_a_jpeg_that_lacks_pixels_is_damaged_however_it_ends(kind, ending):
    mode, options = AT_ONCE[kind]
    data = encoded(PHOTO.convert(mode), "JPEG", **options)
    start = data.index(b"\xff\xda") + 20

    assert not is_damaged(data)
    for kept in (0, 0.1, 0.5, 0.9, 0.99):
        cut = data[: start + int((len(data) - start) * kept)].rstrip(b"\xff")
        assert is_damaged(cut + ending)


def test_a_jpeg_without_restarts_ends_at_one():
    data = encoded(PHOTO, "JPEG")
    middle = data.index(b"\0", len(data) // 2)

    assert is_damaged(data[:middle] + b"\xff\xd0" + data[middle:])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 3), (65, 49), (320, 240)])
@pytest.mark.parametrize("quality", [1, 75, 100])
@pytest.mark.parametrize("kind", AT_ONCE)
def test_a_whole_jpeg_is_read_whatever_stands_between_its_last_pixel_and_its_end(
    kind, quality, size
):
    mode, options = AT_ONCE[kind]
    picture = PHOTO.crop((0, 0, *size)).convert(mode)
    data = encoded(picture, "JPEG", **{**options, "quality": quality})
    expected = decoded(data)

    for between in (bytes(3), bytes(1000), COMMENT, b"\xff" * 5, b"\xff\xd5", b"\xff\x00" * 9):
        assert np.array_equal(decoded(data[:-2] + between + END_OF_IMAGE), expected)
    assert np.array_equal(decoded(data + b"\xff\xd8 and more"), expected)


def scans_of(jpeg: bytes) -> list[bytes]:
    """What is before the first, then each with the tables before it."""
    starts = [at for at in range(len(jpeg)) if jpeg[at : at + 2] == b"\xff\xda"]
    ends = [jpeg.index(b"\xff\xc4", at) for at in starts[:-1]] + [len(jpeg) - 2]
    return [jpeg[one:other] for one, other in zip([0, *ends], ends, strict=False)]


def test_a_progressive_jpeg_is_damaged_until_all_of_its_picture_was_begun():
    scans = scans_of(encoded(PHOTO, "JPEG", progressive=True))
    assert len(scans) == 10

    outcomes = [is_damaged(each + END_OF_IMAGE) for each in accumulate(scans)]

    assert outcomes == [True] * 4 + [False] * 6
    assert is_damaged(scans[0][: len(scans[0]) // 2] + END_OF_IMAGE)


def test_a_jpeg_that_lacks_a_component_is_damaged():
    parts = [jpegs.baseline(320, 240, [number]) for number in (1, 2, 3)]

    def of(*scans: bytes) -> bytes:
        return jpegs.jpeg(320, 240, jpegs.FULL_COLOUR, *scans, frame=jpegs.BASELINE)

    assert not is_damaged(of(*parts))
    assert is_damaged(of(*parts[:2]))
    assert is_damaged(of())
