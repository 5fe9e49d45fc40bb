"""PNGs that inflate: pixels, metadata, chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import cache

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
PAETH = 4
BLACK_WHITE = (b"PLTE", b"\0\0\0\xff\xff\xff")
TRANSPARENT = (b"tRNS", b"\x33")

Chunks = Iterable[tuple[bytes, bytes]]
#: First column, first row, step between columns, step between rows: PNG 1.2, 2.6.
_PASSES = [
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
]  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def flat(
    width: int,
    height: int,
    *,
    depth: int = 8,
    colour: int = COLOUR,
    interlaced: bool = False,
    filtered: int = PAETH,
    before: Chunks = (),
) -> bytes:
    """All samples 0, in rows of the filter that is the dearest to undo."""
    bits = depth * SAMPLES[colour]
    deflate = zlib.compressobj(9)
    pixels = []
    for columns, rows in _sizes(width, height) if interlaced else [(width, height)]:
        row = bytes([filtered]) + bytes((columns * bits + 7) // 8)
        at_once = max(1, 2**22 // len(row))
        for first in range(0, rows, at_once):
            pixels.append(deflate.compress(row * min(at_once, rows - first)))
    return whole(
        struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced),
        [*before, (b"IDAT", b"".join((*pixels, deflate.flush())))],
    )


def whole(header: bytes, chunks: Chunks) -> bytes:
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def small(*before: tuple[bytes, bytes]) -> bytes:
    """One pixel, behind these chunks."""
    return flat(1, 1, colour=GREY, before=before)


def inflating(size_bytes: int) -> bytes:
    return zlib.compress(bytes(size_bytes), 9)


def _sizes(width: int, height: int) -> list[tuple[int, int]]:
    sizes = [
        (-(-(width - left) // across), -(-(height - top) // down))
        for left, top, across, down in _PASSES
    ]
    return [(columns, rows) for columns, rows in sizes if columns > 0 and rows > 0]
