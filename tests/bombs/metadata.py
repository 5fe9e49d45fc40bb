"""Files of one pixel or few, whose metadata are what costs."""

from __future__ import annotations

import struct
from io import BytesIO

from PIL import Image

from tests.bombs import jpegs, pngs

MIB = 2**20


def photo(format_name: str, **options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), "grey").save(file, format_name, **options)
    return file.getvalue()


def overlapping_exif(size_bytes: int) -> bytes:
    """A TIFF directory whose every entry has nearly all of the block for its value."""
    entries = min((size_bytes - 14) // 12, 65_535)
    reach = size_bytes - 16
    directory = b"".join(
        struct.pack(">HHII", 0x8000 | number, 7, reach, 8) for number in range(entries)
    )
    block = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", entries) + directory
    return block + bytes(size_bytes - len(block))


def jpeg_with(extra: bytes) -> bytes:
    return b"\xff\xd8" + extra + photo("JPEG")[2:]


def jpeg_of_exif() -> bytes:
    """Pillow joins what stands in several segments."""
    block = overlapping_exif(MIB * 15 // 16)
    step = 65_000
    return jpeg_with(
        b"".join(
            jpegs.marker(0xE1, b"Exif\0\0" + block[first : first + step])
            for first in range(0, len(block), step)
        )
    )


def jpeg_of_segments() -> bytes:
    return jpeg_with(jpegs.marker(0xE5) * (MIB // 4 - 300))


def jpeg_of_comments() -> bytes:
    return jpeg_with(jpegs.marker(0xFE) * (MIB // 4 - 300))


def jpeg_of_mp_index() -> bytes:
    return jpeg_with(jpegs.marker(0xE2, b"MPF\0" + overlapping_exif(65_000)))


def jpeg_of_photoshop() -> bytes:
    return jpeg_with(
        jpegs.marker(0xED, b"Photoshop 3.0\0" + (b"8BIM\0\1\0\0" + bytes(4)) * 5000) * 17
    )


def jpeg_of_tables() -> bytes:
    return jpeg_with(jpegs.marker(0xDB, (b"\0" + b"\1" * 64) * 1000) * 16)


def png_of_chunks() -> bytes:
    return pngs.small(*[(b"teSt", b"")] * (MIB // 12 - 10))


def png_of_texts() -> bytes:
    return pngs.small(*[(b"tEXt", b"k\0")] * (MIB // 14 - 10))


def png_of_data_chunks() -> bytes:
    """The pixels in pieces of no bytes."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return pngs.whole(header, [*[(b"IDAT", b"")] * (MIB // 12 - 10), (b"IDAT", pngs.inflating(2))])


def png_of_exif() -> bytes:
    return pngs.small((b"eXIf", overlapping_exif(MIB - 200)))


def png_of_frames() -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0)
    frames = MIB // (12 + len(control) + 20)
    return pngs.small(
        (b"acTL", struct.pack(">II", frames, 0)), *[(b"fcTL", control)] * (frames - 10)
    )


def gif_with(extra: bytes) -> bytes:
    data = photo("GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 13
    return data[:at] + extra + data[at:]


def gif_of_comment() -> bytes:
    return gif_with(b"!\xfe" + b"\1x" * (MIB // 2 - 1000) + b"\0")


def gif_of_extensions() -> bytes:
    return gif_with(b"!\xf0\0" * (MIB // 3 - 1000))


def gif_of_comments() -> bytes:
    return gif_with(b"!\xfe\1x\0" * (MIB // 5 - 1000))


def gif_of_blocks() -> bytes:
    """A screen of 40 megapixels, and pixels in blocks of a byte that say clear, clear, clear."""
    head = b"GIF89a" + struct.pack("<HH", 8000, 5000) + b"\xf0\0\0" + bytes(6)
    frame = b"," + struct.pack("<HHHH", 0, 0, 8000, 5000) + b"\0\2"
    return head + frame + b"\1\x24" * (MIB // 2 - 100) + b"\0;"


def webp_with(extra: bytes) -> bytes:
    """An extended file, with chunks behind the picture."""
    simple = photo("WEBP", lossless=True)[12:]
    head = b"VP8X" + struct.pack("<I", 10) + b"\x0c\0\0\0" + b"\x3f\0\0" + b"\x2f\0\0"
    body = b"WEBP" + head + simple + extra
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_chunks() -> bytes:
    return webp_with((b"teSt" + bytes(4)) * (MIB // 8 - 300))


def webp_of_exif() -> bytes:
    block = overlapping_exif(MIB - 1000)
    return webp_with(b"EXIF" + struct.pack("<I", len(block)) + block)


def webp_of_frames() -> bytes:
    picture = photo("WEBP", lossless=True)[12:]
    frame = bytes(6) + b"\x3f\0\0" + b"\x2f\0\0" + bytes(4) + picture
    chunk = b"ANMF" + struct.pack("<I", len(frame)) + frame + b"\0" * (len(frame) % 2)
    head = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\x3f\0\0" + b"\x2f\0\0"
    body = b"WEBP" + head + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += chunk * ((MIB - 200) // len(chunk))
    return b"RIFF" + struct.pack("<I", len(body)) + body


#: What becomes of those that are not read.
BECOMES = {
    "gif_of_blocks": "image-damaged",
    "gif_of_extensions": "image-damaged",
    "jpeg_of_comments": "image-too-costly",
    "jpeg_of_segments": "image-too-costly",
    "png_of_frames": "image-damaged",
}
