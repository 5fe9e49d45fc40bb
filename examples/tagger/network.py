"""The tagger's network, the same for training and serving."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

LABELS = (
    "brick wall",
    "building",
    "cat",
    "cell",
    "clock",
    "coffee",
    "coins",
    "flower",
    "galaxies",
    "grass",
    "gravel",
    "moon",
    "motorcycle",
    "person",
    "retina",
    "rocket",
    "text",
)

WIDTHS = (3, 16, 32, 64, 96, 128)


def network() -> nn.Module:
    """(n, 3, h, w) float32 in 0..1 -> (n, 17) logits, in the order of LABELS."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(WIDTHS):
        layers += [
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], len(LABELS))
    )


def normalised(images: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 RGB -> (n, 3, h, w) float32 in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255.0
