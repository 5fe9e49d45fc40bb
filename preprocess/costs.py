"""What reading an image takes, told from its header, format by format. Called by `decode`.

Figures are of Pillow 13.0, and of what `colours` needs beside the picture itself; a test
compares them with what processes hold.
"""

from __future__ import annotations

from PIL import Image, ImageFile

#: By mode; and L or RGB beside it, where the picture is not changed in its place.
_BYTES_PER_PIXEL = {"1": 2, "L": 1, "LA": 5, "I;16": 3, "P": 5, "RGB": 4, "RGBA": 8, "CMYK": 8}
#: libwebp's animation decoder has two canvases beside the frame, and Pillow copies that twice.
WEBP_BYTES_PER_PIXEL = 17
_SAMPLES = {"RGB": 3, "LA": 2, "RGBA": 4}
#: Longer than cameras and screens have; to resize such a strip costs a fifth of its decode.
LONG_SIDE = 16_384


def bytes_per_pixel(image: Image.Image, format_name: str) -> int:
    """Of memory, while the image is decoded and made opaque."""
    if format_name == "WEBP":
        return WEBP_BYTES_PER_PIXEL
    if image.mode == "L" and image.has_transparency_data:
        return 2
    return _BYTES_PER_PIXEL[image.mode]


def png_work(image: ImageFile.ImageFile) -> int:
    """Of a PNG that was opened and not loaded: its pixels in bytes, as they are filtered.

    With a quarter more where they are interlaced, or a strip to resize, and a byte for each that
    is laid on white.
    """
    raw, _, rest = str(image.tile[0].args).partition(";")
    bits = 1 if raw == "1" else int(rest.rstrip("B") or 8)
    work = -(-image.width * _SAMPLES.get(raw, 1) * bits // 8) * image.height
    if image.info.get("interlace"):
        work += work // 4
    if max(image.size) > LONG_SIDE:
        work += work // 4
    if image.has_transparency_data:
        work += image.width * image.height
    return work


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height, without a reader: Pillow takes memory for both when it opens the file.

    Source: RFC 9649 (2.5 to 2.7), RFC 6386 (9.1).
    """
    kind, at = data[12:16], data[20:30]
    if kind == b"VP8X":
        return _number(at[4:7]) + 1, _number(at[7:10]) + 1
    if kind == b"VP8L":
        bits = _number(at[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _number(at[6:8]) & 0x3FFF, _number(at[8:10]) & 0x3FFF


def _number(part: bytes) -> int:
    return int.from_bytes(part, "little")
