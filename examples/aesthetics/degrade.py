"""Photos and their degraded copies: what the scorer learns from and is measured on.

Severity runs from 0 (untouched) to 1 (ruined), per kind; the quality to be
learned is what is left over: the product of (1 - severity) over the kinds.
Strengths are in units of the picture as it is served, 256 by 256 pixels.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from skimage import data
from sklearn.datasets import load_sample_image

SIDE = 256
KINDS = ("blur", "noise", "jpeg", "exposure")


def picture(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array).convert("RGB")


def training_photos() -> list[Image.Image]:
    left, _, _ = data.stereo_motorcycle()
    arrays = (
        data.chelsea(),
        data.rocket(),
        load_sample_image("flower.jpg"),
        left,
        data.hubble_deep_field(),
        data.brick(),
        data.grass(),
        data.coins(),
        data.immunohistochemistry(),
        data.retina(),
        data.page(),
        data.moon(),
        data.cell(),
        data.text(),
    )
    return [picture(array) for array in arrays]


def held_out_photos() -> dict[str, Image.Image]:
    return {
        "astronaut": picture(data.astronaut()),
        "camera": picture(data.camera()),
        "china": picture(load_sample_image("china.jpg")),
        "coffee": picture(data.coffee()),
        "gravel": picture(data.gravel()),
    }


def view(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random square of at least 256 pixels, scaled as the image tier scales photos."""
    short = min(photo.size)
    side = int(rng.uniform(min(SIDE, short), short))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    square = photo.resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    return ImageOps.mirror(square) if rng.random() < 0.5 else square


def varied(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turned and with its channels exchanged: other content of the same quality."""
    pixels = np.rot90(np.asarray(image), rng.integers(4))
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, rng.permutation(3)]))


def blurred(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(4.0 * severity))


def noisy(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    noise = rng.normal(0, 60.0 * severity, (image.height, image.width, 3))
    if rng.random() < 0.5:  # a sensor's grain, the same in all channels
        noise = noise[:, :, :1]
    return picture((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def compressed(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(95 - 90 * severity**0.5))
    return Image.open(file).convert("RGB")


def misexposed(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    stops = 2.5 * severity * rng.choice([-1, 1])
    linear = (np.asarray(image) / 255.0) ** 2.2 * 2.0**stops
    return picture((linear.clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8))


# In the order in which a camera does it.
DEGRADE = {"blur": blurred, "exposure": misexposed, "noise": noisy, "jpeg": compressed}


def degraded(
    image: Image.Image, severities: dict[str, float], rng: np.random.Generator
) -> tuple[Image.Image, float]:
    """The picture with all severities applied, and its quality 0..1."""
    quality = 1.0
    for kind, degrade in DEGRADE.items():
        severity = severities.get(kind, 0.0)
        if severity > 0:
            image = degrade(image, severity, rng)
            quality *= 1.0 - severity
    return image, quality


def random_severities(rng: np.random.Generator) -> dict[str, float]:
    """Untouched once in five times, else one kind, sometimes two."""
    if rng.random() < 0.2:
        return {}
    kinds = rng.choice(KINDS, size=1 if rng.random() < 0.7 else 2, replace=False)
    return {str(kind): float(rng.uniform(0.02, 1.0)) for kind in kinds}
