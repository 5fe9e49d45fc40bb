"""From a decoded picture to the array that one model wants.

A `Picture` keeps its pixels as the file stored them: perhaps at a fraction of
the full size, perhaps lying on its side. `render` cuts, resizes and only then
turns, so that never more than the wanted pixels are turned. Reads no bytes of
any file; called by `decode` for the scale that will be needed and by `model`.

All resizing is bicubic (a = -0.5) with a kernel that widens when it shrinks, so
nothing aliases: the filter that Pillow calls BICUBIC, for what shrinks computed with
vector instructions. Models must be trained on the same filter to see the same pixels.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

Pixels = npt.NDArray[np.uint8]

FILTER = ResizeAlg.convolution(FilterType.catmull_rom)

#: EXIF 2.32, tag 0x0112: what stands a stored picture upright. 1 needs nothing.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Resize(enum.Enum):
    """How a picture is brought to a size whose proportions it does not have."""

    STRETCH = "stretch"
    """Both sides independently; proportions change."""
    CROP = "crop"
    """Fill the size, keep the centre, lose what hangs over."""
    PAD = "pad"
    """Fit inside, at the top left; black to the right or below."""


@dataclass(frozen=True, slots=True)
class Transform:
    """One array that is wanted of a picture: (height, width, 3)."""

    height: int
    width: int
    resize: Resize

    def scale(self, width: float, height: float) -> float:
        """Wanted pixels per pixel of an upright picture of this size, on its denser axis."""
        horizontal, vertical = self.width / width, self.height / height
        if self.resize is Resize.PAD:
            return min(horizontal, vertical)
        return max(horizontal, vertical)


def is_sideways(orientation: int) -> bool:
    """Whether standing upright exchanges width and height."""
    return orientation >= 5


@dataclass(frozen=True, slots=True)
class Picture:
    """What was decoded of one file."""

    image: Image.Image
    """Mode RGB or L, as stored: `orientation` not applied."""
    extent: tuple[float, float]
    """Width and height of the part of `image` that is picture. A JPEG of 1001
    pixels decoded at 1/8 has 126 columns, the last of which is filled to 1/8."""
    orientation: int
    """1 to 8, as in EXIF."""
    format: str
    """JPEG, PNG, WEBP or GIF."""
    width: int
    """Of the file at full size, upright."""
    height: int


def render(picture: Picture, transform: Transform) -> Pixels:
    """(height, width, 3), uint8, RGB, upright, C-contiguous, owned by the caller."""
    sideways = is_sideways(picture.orientation)
    # The box is centred, so it stays where it is when the picture is mirrored.
    box, (width, height) = _fit(transform, *_exchanged(picture.extent, sideways))
    stored = Image.new(picture.image.mode, _exchanged((width, height), sideways))
    _draw(picture.image, _exchanged(box[:2], sideways), _exchanged(box[2:], sideways), stored)
    turn = _TURNS.get(picture.orientation)
    upright = stored if turn is None else stored.transpose(turn)
    if upright.mode != "RGB":
        upright = upright.convert("RGB")
    if transform.resize is not Resize.PAD:
        return np.array(upright)
    canvas = np.zeros((transform.height, transform.width, 3), np.uint8)
    canvas[:height, :width] = np.asarray(upright)
    return canvas


def _draw(
    source: Image.Image, start: tuple[float, float], size: tuple[float, float], target: Image.Image
) -> None:
    """Resizes a part of the source, `size` wide and high from `start` on, to fill the target."""
    if size[0] < target.width or size[1] < target.height:
        # cykooz-resizer 4.0.1 forgets, where the first or last pixel falls exactly on one of the
        # source's, that its neighbours reach further: it reads what is not there.
        box = (*start, start[0] + size[0], start[1] + size[1])
        target.paste(source.resize(target.size, Image.Resampling.BICUBIC, box))
        return
    options = ResizeOptions(resize_alg=FILTER, crop_box=CropBox(*start, *size))
    # One for each call: it would keep the memory of the largest picture that it has seen.
    Resizer().resize_pil(source, target, options)


_Box = tuple[float, float, float, float]
_N = TypeVar("_N", int, float)


def _fit(transform: Transform, width: float, height: float) -> tuple[_Box, tuple[int, int]]:
    """Which part of an upright picture is used (left, top, width, height), and at what size
    it is drawn."""
    wanted = transform.width, transform.height
    scale = transform.scale(width, height)
    if transform.resize is Resize.CROP:
        # The part is cut out of the source, not of an enlarged copy: a picture of
        # 60,000 x 1 pixels would first become 13,440,000 x 224.
        across = min(transform.width / scale, width)
        down = min(transform.height / scale, height)
        left, top = (width - across) / 2, (height - down) / 2
        return (left, top, across, down), wanted
    if transform.resize is Resize.PAD:
        wanted = max(1, round(width * scale)), max(1, round(height * scale))
    return (0, 0, width, height), wanted


def _exchanged(pair: tuple[_N, _N], sideways: bool) -> tuple[_N, _N]:
    return (pair[1], pair[0]) if sideways else pair
