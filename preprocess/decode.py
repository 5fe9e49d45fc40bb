"""Bytes that claim to be a photo, to a `Picture`; or a `DecodeError`, and nothing else.

The bytes are a stranger's. The format is told from its signature and only that
one reader of Pillow is tried; the size is checked in the header, before memory
is taken, and so is what the decode would cost; whatever else a reader trips over is
the file's fault. Nothing here limits a process: `allowance` and its host do. One
thread at a time, since Pillow's pixel limit and Python's warning filters belong
to the process. Called by `model`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

# The four readers are imported by name: Image.open() would import all of Pillow's to find WebP.
from PIL import (
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from preprocess.allowance import (
    BESIDE_BYTES,
    CPU_SECONDS,
    MeteredFile,
    OutOfTime,
    cpu_allowed,
    memory_allowed,
)
from preprocess.colours import opaque, whiten
from preprocess.completeness import BEHIND_JPEG_SCAN, end_of_gif_blocks, load_png, open_png
from preprocess.costs import WEBP_BYTES_PER_PIXEL, bytes_per_pixel, png_work, webp_size
from preprocess.jpeg import BASELINE, EXTENDED, PROGRESSIVE, survey
from preprocess.transforms import Picture, Transform, is_sideways

DAMAGED = "image-damaged"
EMPTY = "image-empty"
FORMAT_UNSUPPORTED = "image-format-unsupported"
TOO_COSTLY = "image-too-costly"
TOO_LARGE = "image-too-large"

#: Longest side. The most that a JPEG can say. Beside the pixel limit, because a resize
#: stretches one axis first: 36 GB for a PNG of 40,000,000 x 1 that is wanted at 224 x 224.
MAX_SIDE = 65_535

#: Encoders write about ten. Each is a walk over coefficients, whatever it adds in bytes.
MAX_SCANS = 100
#: Of 64 KiB at most; a large photo with all that cameras add has some hundreds.
MAX_SEGMENTS = 10_000
#: Blocks of a JPEG for each second that it may take: 17 million came to a second where scans
#: refine nothing (2026-11-21, EPYC, two shared cores), and the pixels are to be made as well.
VISITS_PER_SECOND = 10_000_000
#: Bytes of a PNG's pixels, likewise: 160 million, with the filter that is the dearest to undo.
PNG_WORK_PER_SECOND = 120_000_000

#: Pillow's names for how a PNG stores it, and for the other byte order: of both, it keeps what
#: is the high byte there.
_COLOUR_OF_16_BITS, _LOW_BYTES = "RGB;16B", "RGB;16L"

#: Of a file, between two looks at the time: a tenth of a second where it inflates most.
_BLOCK_BYTES = 16_384

#: A reduced JPEG has at least this many times the pixels wanted along an axis: 50 dB and
#: more against a full decode; 1.7 times leaves 49, the wanted size itself 45 (see ADR 8).
MARGIN = 2


class _Limits(NamedTuple):
    """Of one file."""

    pixels: int
    memory_bytes: int
    """For pixels and coefficients."""
    cpu_seconds: float


class DecodeError(Exception):
    """A file that cannot be answered for. `detail` is ours, never a library's text."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def decode_image(
    data: bytes,
    *,
    max_pixels: int,
    transforms: Sequence[Transform],
    cpu_seconds: float = CPU_SECONDS,
) -> Picture:
    """Decode one JPEG, PNG, WebP or GIF file (its first frame), once for all transforms.

    Args:
        data: the encoded file, already below the size limit. What follows the end
            of the image is ignored.
        max_pixels: width times height above which the file is refused from its
            header, before memory is taken.
        transforms: what will be rendered; a JPEG is decoded at the smallest scale
            that leaves twice the pixels that the most demanding of them needs.
        cpu_seconds: for each MiB of the file that was begun; a file whose headers promise to
            take more is refused.

    Raises:
        DecodeError: no bytes, another format, too many pixels or scans, too much work or
            memory, damaged or cut short.
    """
    format_name = _format_of(data)
    limits = _Limits(
        max_pixels, memory_allowed(max_pixels) - BESIDE_BYTES, cpu_allowed(len(data), cpu_seconds)
    )
    try:
        file = MeteredFile(data, limits.cpu_seconds)
        held = _held_by(data, file, format_name, limits)
        with (
            _pillow_limited_to(max_pixels),
            Image.open(file, formats=[format_name]) as image,
        ):
            return _read(image, data, file, format_name, held, limits, transforms)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(max_pixels) from error
    except MemoryError as error:
        raise _too_much_memory() from error
    except OutOfTime as error:
        raise DecodeError(TOO_COSTLY, "decoding the image takes too long for its size") from error
    # Readers raise OSError, SyntaxError, ValueError, IndexError, struct.error and more on
    # hostile bytes, and the list changes with the version.
    except Exception as error:
        raise _damaged(format_name) from error


def _format_of(data: bytes) -> str:
    if not data:
        raise DecodeError(EMPTY, "the image has no bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    raise DecodeError(
        FORMAT_UNSUPPORTED, "the file is not a JPEG, PNG, WebP or GIF image, whatever its name says"
    )


def _too_large(max_pixels: int) -> DecodeError:
    return DecodeError(
        TOO_LARGE,
        f"the image has more than {max_pixels} pixels, or a side of more than {MAX_SIDE}",
    )


def _too_much_memory() -> DecodeError:
    return DecodeError(TOO_COSTLY, "decoding the image takes more memory than an image may")


def _damaged(format_name: str) -> DecodeError:
    return DecodeError(
        DAMAGED,
        f"the file begins like a {format_name} image but is damaged, cut short, "
        "or of a kind that cannot be read",
    )


@contextmanager
def _pillow_limited_to(max_pixels: int) -> Iterator[None]:
    """Our limit in the place of Pillow's, so that its readers keep to it inside as well.

    Pillow warns above the limit and raises above twice the limit; both end the decode.
    Its other warnings (odd EXIF, odd multi-picture headers) concern no pixel.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _held_by(data: bytes, file: MeteredFile, format_name: str, limits: _Limits) -> int:
    """What is held beside the picture, told before any reader sees the file.

    Args:
        file: of a JPEG, is told where to end.

    Raises:
        DecodeError: it is too costly already, or a JPEG that lacks scans or that no camera or
            browser writes.
    """
    if format_name == "WEBP":
        width, height = webp_size(data)
        if width * height > limits.pixels:
            raise _too_large(limits.pixels)
        if width * height * WEBP_BYTES_PER_PIXEL > limits.memory_bytes:
            raise _too_much_memory()
    if format_name != "JPEG":
        return 0
    surveyed = survey(data, most_scans=MAX_SCANS, most_segments=MAX_SEGMENTS)
    if surveyed.segments > MAX_SEGMENTS:
        raise DecodeError(TOO_COSTLY, f"the JPEG has more than {MAX_SEGMENTS} segments")
    if surveyed.coding not in (None, BASELINE, EXTENDED, PROGRESSIVE):
        raise _damaged(format_name)
    if surveyed.scans > MAX_SCANS:
        raise DecodeError(TOO_COSTLY, f"the JPEG has more than {MAX_SCANS} scans")
    if surveyed.visits > VISITS_PER_SECOND * limits.cpu_seconds:
        raise DecodeError(TOO_COSTLY, "the JPEG has too many scans for its size")
    # One without any is left to the reader, behind the limit of pixels.
    if surveyed.scans and not surveyed.complete:
        raise _damaged(format_name)
    if surveyed.end is not None:
        file.stop_at(surveyed.end, BEHIND_JPEG_SCAN)
    return surveyed.coefficient_bytes


def _read(
    image: ImageFile.ImageFile,
    data: bytes,
    file: MeteredFile,
    format_name: str,
    held: int,
    limits: _Limits,
    transforms: Sequence[Transform],
) -> Picture:
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > MAX_SIDE:
        raise _too_large(limits.pixels)
    extent: tuple[float, float] = (width, height)
    reads = 2 if _has_transparent_colour_of_16_bits(image, format_name) else 1
    per_pixel = reads * bytes_per_pixel(image, format_name)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        extent = _reduce(image, transforms, (limits.memory_bytes - held) // per_pixel)
    elif (
        format_name == "PNG" and reads * png_work(image) > PNG_WORK_PER_SECOND * limits.cpu_seconds
    ):
        raise DecodeError(TOO_COSTLY, "the PNG has too many bytes of pixels for its size")
    if held + image.width * image.height * per_pixel > limits.memory_bytes:
        raise _too_much_memory()
    whole = _load(image, data, file, format_name)
    # After load(): a PNG may keep its EXIF behind its pixels.
    orientation = _orientation(whole)
    if is_sideways(orientation):
        width, height = height, width
    return Picture(opaque(whole), extent, orientation, format_name, width, height)


def _load(
    image: ImageFile.ImageFile, data: bytes, file: MeteredFile, format_name: str
) -> Image.Image:
    if format_name == "PNG":
        exact = _has_transparent_colour_of_16_bits(image, format_name)
        whole = load_png(image, file, _BLOCK_BYTES)
        if exact:
            _whiten_transparent_colour(whole, file)
        else:
            _rescale_transparent_level(whole, bit_depth=data[24])
        return whole
    if format_name == "GIF":
        file.stop_at(end_of_gif_blocks(data, image.tile[0].offset))
    image.decodermaxblock = _BLOCK_BYTES
    image.load()
    return image


def _reduce(
    image: JpegImagePlugin.JpegImageFile, transforms: Sequence[Transform], most_pixels: int
) -> tuple[float, float]:
    """Ask libjpeg for 1/8, 1/4 or 1/2 of the size, if that is enough; what is left of it.

    Where memory is too scarce for the margin, all that was wanted is enough.
    """
    width, height = image.size
    upright = (height, width) if is_sideways(_orientation(image)) else (width, height)
    needed = max((transform.scale(*upright) for transform in transforms), default=0)
    divisor = next((d for d in (8, 4, 2) if d * MARGIN * needed <= 1), 1)
    while divisor < 8 and width * height > most_pixels * divisor**2 and 2 * divisor * needed <= 1:
        divisor *= 2
    # draft() takes the largest divisor that leaves at least the size it is given.
    drafted = image.draft(None, (max(1, width // divisor), max(1, height // divisor)))
    if drafted is None:
        return width, height
    _, (_, _, across, down) = drafted
    return across, down


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the metadata say nothing or cannot be read: the photo still can."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (MemoryError, OutOfTime):
        raise
    except Exception:  # as many kinds as in decode_image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rescale_transparent_level(image: Image.Image, bit_depth: int) -> None:
    """Bring the grey that a tRNS chunk calls transparent to the 8 bits of the pixels.

    PNG 1.2, 4.2.1.1: it is written at the depth of the image. Pillow 13.0 leaves it so.
    """
    level = image.info.get("transparency")
    if image.mode == "L" and isinstance(level, int) and bit_depth in (2, 4):
        image.info["transparency"] = level * 255 // (2**bit_depth - 1)


def _has_transparent_colour_of_16_bits(image: ImageFile.ImageFile, format_name: str) -> bool:
    """Of an image that is not loaded."""
    stored = image.tile[0].args if format_name == "PNG" else None
    return stored == _COLOUR_OF_16_BITS and image.has_transparency_data


def _whiten_transparent_colour(image: Image.Image, file: MeteredFile) -> None:
    """Of 16 bits: Pillow keeps the high bytes alone, so the low ones are read for themselves."""
    colour = image.info.pop("transparency")
    low = open_png(file)
    low.tile = [low.tile[0]._replace(args=_LOW_BYTES)]
    low.decodermaxblock = _BLOCK_BYTES
    low.load()
    whiten(image, low, colour)
