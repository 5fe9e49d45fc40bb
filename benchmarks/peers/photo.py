"""A JPEG to the pixels that the network wants, the plain way or as Demitasse does it.

Runs in the peers' environments, which have numpy and what the decoder imports.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers.resnet import SIDE
from benchmarks.peers.task import Lent

Decode = Callable[[bytes], "np.ndarray[Any, Any]"]


def decoder(lent: Lent) -> Decode:
    """A function from a file to (224, 224, 3) uint8 RGB."""
    return _with_pillow if lent is Lent.NOTHING else _with_ours()


def _with_pillow(file: bytes) -> np.ndarray[Any, Any]:
    image = Image.open(BytesIO(file)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _with_ours() -> Decode:
    from preprocess.decode import decode_image
    from preprocess.transforms import Resize, Transform, render

    wanted = Transform(SIDE, SIDE, Resize.STRETCH)

    def decode(file: bytes) -> np.ndarray[Any, Any]:
        return render(decode_image(file, max_pixels=40_000_000, transforms=[wanted]), wanted)

    return decode


def pixels(body: bytes) -> np.ndarray[Any, Any]:
    """What needs no decoder: (224, 224, 3) uint8 as they are."""
    return np.frombuffer(body, np.uint8).reshape(SIDE, SIDE, 3)
