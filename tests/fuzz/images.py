"""Image files to begin from: every mode and format that Pillow writes, small."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

_SIZE = (23, 17)
_WRITERS: dict[str, tuple[tuple[str, ...], tuple[dict[str, object], ...]]] = {
    "PNG": (("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), ({}, {"optimize": True})),
    "JPEG": (("L", "RGB", "CMYK"), ({"quality": 40}, {"progressive": True})),
    "WEBP": (("RGB", "RGBA"), ({"lossless": True}, {"quality": 10})),
    "GIF": (("1", "L", "P"), ({}, {"interlace": 1})),
    "BMP": (("1", "L", "P", "RGB"), ({},)),
    "TIFF": (("1", "L", "RGB", "CMYK", "I;16", "F"), ({}, {"compression": "tiff_lzw"})),
    "ICO": (("RGBA",), ({},)),
    "PPM": (("L", "RGB"), ({},)),
}


@cache
def files() -> tuple[bytes, ...]:
    """All of them, in an order that does not change."""
    found = []
    for format_, (modes, options) in _WRITERS.items():
        for mode in modes:
            for option in options:
                found.append(_file(format_, mode, option))
    return (*found, *_animated(), _oriented())


def _picture(mode: str) -> Image.Image:
    gradient = Image.linear_gradient("L").resize(_SIZE)
    if mode in ("I;16", "F"):
        return gradient.convert("I").convert(mode)
    return Image.merge("RGB", [gradient, gradient.rotate(180), gradient]).convert(mode)


def _file(format_: str, mode: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    _picture(mode).save(file, format_, **options)
    return file.getvalue()


def _animated() -> list[bytes]:
    frames = [_picture("RGB").rotate(angle) for angle in (0, 90, 180)]
    found = []
    for format_ in ("GIF", "WEBP", "PNG"):
        file = io.BytesIO()
        frames[0].save(file, format_, save_all=True, append_images=frames[1:])
        found.append(file.getvalue())
    return found


def _oriented() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    _picture("RGB").save(file, "JPEG", exif=exif)
    return file.getvalue()
