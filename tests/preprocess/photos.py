"""Images for the tests of this folder, made on the spot.

Noise that looks like a photo to a codec, and PNGs chunk by chunk.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Colour noise whose detail fades with frequency, as that of photos does."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for octave in range(1, 8):
        cells = random.random((2 + height * 2**octave // 512, 2 + width * 2**octave // 512, 3))
        for channel in range(3):
            layer = Image.fromarray(cells[..., channel].astype(np.float32))
            total[..., channel] += np.asarray(layer.resize((width, height), 3)) / 2**octave
    total -= total.min()
    return Image.fromarray((total * (255 / total.max())).astype(np.uint8))


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels; 48 is an error of one level everywhere, and the most this says is 108."""
    return float(10 * np.log10(255**2 / max(1e-6, np.mean((one.astype(float) - other) ** 2))))


GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def png(
    size: tuple[int, int],
    depth: int,
    colour_type: int,
    row: bytes,
    *before_pixels: tuple[bytes, bytes],
) -> bytes:
    """A PNG whose rows are all `row`; extra chunks come before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * size[1]) if row else b""
    chunks = [(b"IHDR", header), *before_pixels, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
