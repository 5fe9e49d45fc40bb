"""JPEG bodies like a camera's, made from the photos that the examples ship.

An enlarged photo is smoother than one that a sensor took, and costs less to
decode: noise makes up for it. The same bytes on every machine with the same Pillow.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

COFFEE = Path(__file__).parents[2] / "examples" / "photos" / "coffee.jpg"
QUALITY = 85


def jpeg(width: int, height: int, *, noise: float, comment: bytes) -> bytes:
    """A photo of this size.

    Args:
        noise: standard deviation of what is added, out of 255.
        comment: stands in the file; its bytes are free to be changed.
    """
    small = Image.open(COFFEE).convert("RGB")
    large = small.resize((width, height), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, noise, (height, width, 1))
    pixels = np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, comment=comment)
    return file.getvalue()
