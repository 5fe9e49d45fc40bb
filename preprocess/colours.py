"""From what a file stores to colours that can be resized: 8 bits, opaque, grey or RGB.

A few rows at a time where a picture is large, so that it is never held twice in four bytes a
pixel if that can be helped. Called by `decode`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_GREY = ("1", "L", "LA")
_PIXELS_AT_ONCE = 2**20


def opaque(image: Image.Image) -> Image.Image:
    """8 bits per sample, mode L or RGB, on white where the image is transparent.

    Pillow keeps the high byte of 16-bit colour; 16-bit grey does as well here. CMYK from a
    JPEG is taken to be inverted, as Adobe writes it. Colour profiles are not applied.

    Args:
        image: perhaps changed, perhaps what is returned.
    """
    mode = "L" if image.mode in _GREY or image.mode.startswith("I") else "RGB"
    if image.mode == mode and not image.has_transparency_data:
        return image
    if image.width * image.height <= _PIXELS_AT_ONCE:
        return _opaque(image, mode)
    target = image if image.mode == mode else Image.new(mode, image.size)
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        target.paste(_opaque(band, mode), (0, top))
    return target


def whiten(high: Image.Image, low: Image.Image, colour: tuple[int, ...]) -> None:
    """Lays the one transparent colour of 16 bits a sample on white, in the picture itself.

    Args:
        high: mode RGB, the samples' high bytes; changed.
        low: likewise, their low bytes.
    """
    highs, lows = [part >> 8 for part in colour], [part & 255 for part in colour]
    rows = max(1, _PIXELS_AT_ONCE // high.width)
    for top in range(0, high.height, rows):
        band = (0, top, high.width, min(top + rows, high.height))
        alike = (np.asarray(high.crop(band)) == highs) & (np.asarray(low.crop(band)) == lows)
        high.paste("white", band, Image.fromarray(alike.all(-1)))


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        return _grey_from_16_bits(image)
    if not image.has_transparency_data:
        return image.convert(mode)
    layered = image.convert("LA" if mode == "L" else "RGBA")
    white = Image.new(mode, image.size, "white")
    white.paste(layered, mask=layered)
    return white


def _grey_from_16_bits(image: Image.Image) -> Image.Image:
    samples = np.asarray(image)
    grey = (samples >> 8).astype(np.uint8)
    transparent: Any = image.info.get("transparency")
    if transparent is not None:
        grey[samples == transparent] = 255
    return Image.fromarray(grey)
