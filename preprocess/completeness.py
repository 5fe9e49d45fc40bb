"""Whether all the pixels came, where a reader of Pillow takes less for a whole picture.

It stops at whatever ends a file's stream of pixels and leaves the rest black, grey, or to what
the file holds behind. So GIF and JPEG readers are shown no end that they could stop at before
their last pixel; a PNG's, which stops without a word, is given a row to overwrite.
Called by `decode`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFile

from preprocess.allowance import MeteredFile

#: In the place of the marker that ends a JPEG's only scan: what libjpeg reads ahead, in bits that
#: are no code. Two blocks at most can be made of it, where a marker makes any number grey.
BEHIND_JPEG_SCAN = b"\xff\x00" * 8

#: Beneath the row of a PNG that comes last, repeated. No pixel is alike in both, so a row that is
#: still like each of them did not come; to be like one, a good file's must be made so.
_GROUNDS = bytes(range(1, 252)), bytes(255 - each for each in range(1, 252))
_MOST_BYTES_PER_PIXEL = 4


class IncompleteError(Exception):
    """Rows are missing."""


def end_of_gif_blocks(data: bytes, first: int) -> int:
    """Behind the empty block that ends a frame's pixels, which Pillow reads past.

    Args:
        first: where the first block's length stands.
    """
    at = first
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def open_png(file: MeteredFile) -> ImageFile.ImageFile:
    """Again, from its beginning."""
    return Image.open(file, formats=["PNG"])


def load_png(image: ImageFile.ImageFile, file: MeteredFile, block_bytes: int) -> Image.Image:
    """Loads all rows, in a second decode where the last of them happens to be like the ground.

    Args:
        image: opened from `file`, not loaded; without pixels afterwards if another is returned.
        block_bytes: of the file, that are read at once.

    Raises:
        IncompleteError: the file's stream of pixels ended before the last row.
        Exception: as of Pillow's readers.
    """
    for ground in _GROUNDS:
        if image.tile[0].extents != (0, 0, *image.size):
            raise IncompleteError
        last, columns = _last_row(image)
        row = _row(image, ground)
        # As ImageFile.load_prepare() would make it.
        image.im = Image.new(image.mode, image.size, None).im
        image.im.paste(row.im, (0, last, image.width, last + 1))
        image.decodermaxblock = block_bytes
        image.load()
        came = np.asarray(image.crop((0, last, image.width, last + 1)))
        if not np.array_equal(came[:, columns], np.asarray(row)[:, columns]):
            return image
        image.im = row.im  # two pictures at once are more than a file may take
        image = open_png(file)
    raise IncompleteError


def _last_row(image: ImageFile.ImageFile) -> tuple[int, slice]:
    """The row that comes last, and the columns that come last in it.

    Source: PNG 1.2, 2.6: of Adam7's passes the seventh has every odd row; a picture of one row
    ends with the sixth, which has its odd columns.
    """
    width, height = image.size
    everything = slice(None)
    if not image.info.get("interlace"):
        return height - 1, everything
    if height > 1:
        return height // 2 * 2 - 1, everything
    return 0, slice(1, None, 2) if width > 1 else everything


def _row(image: ImageFile.ImageFile, ground: bytes) -> Image.Image:
    needed = image.width * _MOST_BYTES_PER_PIXEL
    row = Image.new(image.mode, (image.width, 1))
    row.frombytes((ground * (needed // len(ground) + 1))[: len(row.tobytes())])
    return row
