"""Generated scenes and their one true description: what the captioner learns from.

One or two shapes on a plain background. Of two, the sentence begins with the
left or the upper one, whichever axis sets them further apart, or with the one
inside the other, so that every scene has exactly one sentence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 165, 70),
    "blue": (45, 80, 215),
    "yellow": (240, 215, 40),
    "purple": (140, 50, 170),
    "pink": (250, 140, 185),
}
BACKGROUNDS = {
    "white": (245, 245, 245),
    "black": (18, 18, 18),
    "grey": (130, 130, 130),
    "brown": (120, 75, 40),
}
RADII = {"small": (9, 12), "big": (17, 22)}
WORDS = (
    "",  # ends a sentence, and stands before its first word
    "a",
    *RADII,
    *COLOURS,
    *SHAPES,
    "left",
    "of",
    "above",
    "inside",
    "on",
    *BACKGROUNDS,
    "background",
)
LENGTH = 16  # the longest sentence has 15 words


class Thing(NamedTuple):
    size: str
    colour: str
    shape: str
    x: float
    y: float
    radius: float

    def words(self) -> list[str]:
        return ["a", self.size, self.colour, self.shape]


def a_thing(rng: np.random.Generator, *, size: str | None = None, colour: str = "") -> Thing:
    """A thing anywhere in the picture, of any colour but the given one."""
    size = size or str(rng.choice(list(RADII)))
    radius = rng.uniform(*RADII[size])
    x, y = rng.uniform(radius + 1, SIDE - radius - 1, 2)
    chosen = str(rng.choice([name for name in COLOURS if name != colour]))
    return Thing(size, chosen, str(rng.choice(SHAPES)), x, y, radius)


def two_apart(rng: np.random.Generator) -> tuple[Thing, str, Thing]:
    while True:
        first, second = a_thing(rng), a_thing(rng)
        across, down = second.x - first.x, second.y - first.y
        touching = np.hypot(across, down) < 1.45 * (first.radius + second.radius)
        if touching or abs(abs(across) - abs(down)) < 8:
            continue  # no clear answer to which axis
        if abs(across) > abs(down):
            return (first, "left of", second) if across > 0 else (second, "left of", first)
        return (first, "above", second) if down > 0 else (second, "above", first)


def one_inside(rng: np.random.Generator) -> tuple[Thing, str, Thing]:
    outer = a_thing(rng, size="big")._replace(shape=str(rng.choice(["circle", "square"])))
    inner = a_thing(rng, size="small", colour=outer.colour)
    middle = np.add((outer.x, outer.y), rng.uniform(-2, 2, 2))
    return inner._replace(x=middle[0], y=middle[1]), "inside", outer


def drawn(draw: ImageDraw.ImageDraw, thing: Thing, rng: np.random.Generator) -> None:
    x, y, r = thing.x * 2, thing.y * 2, thing.radius * 2
    colour = shade(COLOURS[thing.colour], rng)
    if thing.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif thing.shape == "square":
        draw.rectangle((x - r * 0.9, y - r * 0.9, x + r * 0.9, y + r * 0.9), fill=colour)
    elif thing.shape == "triangle":
        draw.polygon([(x, y - r), (x + r, y + r * 0.85), (x - r, y + r * 0.85)], fill=colour)
    else:
        draw.rectangle((x - r, y - r * 0.3, x + r, y + r * 0.3), fill=colour)
        draw.rectangle((x - r * 0.3, y - r, x + r * 0.3, y + r), fill=colour)


def shade(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(np.clip(c + rng.uniform(-14, 14), 0, 255)) for c in colour)


def scene(rng: np.random.Generator) -> tuple[Image.Image, str]:
    """(96, 96) RGB and its sentence."""
    background = str(rng.choice(list(BACKGROUNDS)))
    kind = rng.random()
    if kind < 0.2:
        thing = a_thing(rng)
        things, words = [thing], thing.words()
    else:
        first, relation, second = one_inside(rng) if kind < 0.45 else two_apart(rng)
        things, words = [second, first], [*first.words(), relation, *second.words()]
    image = Image.new("RGB", (SIDE * 2, SIDE * 2), shade(BACKGROUNDS[background], rng))
    draw = ImageDraw.Draw(image)
    for thing in things:
        drawn(draw, thing, rng)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    grainy = small + rng.normal(0, rng.uniform(0, 5), small.shape)
    sentence = " ".join([*words, "on a", background, "background"])
    return Image.fromarray(grainy.clip(0, 255).astype(np.uint8)), sentence


def tokens(sentence: str) -> list[int]:
    found = [WORDS.index(word) for word in sentence.split()]
    return found + [0] * (LENGTH - len(found))
