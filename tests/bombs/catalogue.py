"""Every bomb by name, and what becomes of it. Each is at most 1 MiB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from io import BytesIO
from typing import Any, NamedTuple

from PIL import Image

from tests.bombs import jpegs, metadata, pngs
from tests.bombs.jpegs import FULL_COLOUR, INKS, Part

READ = "read"
DAMAGED, TOO_COSTLY, TOO_LARGE = "image-damaged", "image-too-costly", "image-too-large"

GREY = (Part(),)
#: As many pixels as are allowed, in blocks and in rows.
WIDTH, HEIGHT = 8000, 5000
_RGB, _RGBA = "RGB", "RGBA"


class Bomb(NamedTuple):
    make: Callable[[], bytes]
    becomes: str
    """`READ`, or the code of the refusal."""


@cache
def bombs() -> dict[str, Bomb]:
    return dict([*_png_pixels(), *_jpeg_pixels(), *_other_pixels(), *_shapes(), *_metadata()])


def _png_pixels() -> Iterator[tuple[str, Bomb]]:
    flat = partial(pngs.flat, WIDTH, HEIGHT)
    one = (b"tRNS", b"\0" * 2)
    palette = (pngs.BLACK_WHITE,)
    whole: dict[str, dict[str, Any]] = {
        "RGB": {},
        "grey": {"colour": pngs.GREY},
        "grey, one transparent": {"colour": pngs.GREY, "before": (one,)},
        "grey, 16 bits": {"colour": pngs.GREY, "depth": 16},
        "grey, 16 bits, one transparent": {"colour": pngs.GREY, "depth": 16, "before": (one,)},
        "1 bit, interlaced": {"colour": pngs.GREY, "depth": 1, "interlaced": True},
        "grey and alpha": {"colour": pngs.GREY_ALPHA},
        "palette": {"colour": pngs.PALETTE, "before": palette},
        "palette and alpha": {"colour": pngs.PALETTE, "before": (*palette, pngs.TRANSPARENT)},
    }
    for name, options in whole.items():
        yield f"PNG, {name}", Bomb(partial(flat, **options), READ)
    one = (b"tRNS", b"\0" * 6)
    # The largest that are read, and at as many pixels as a file of less work may have.
    for name, (width, height), options in (
        ("RGB, interlaced", (8000, 4000), {"interlaced": True}),
        ("RGB, one transparent", (6000, 5000), {"before": (one,)}),
        ("RGB, 16 bits", (5000, 4000), {"depth": 16}),
        ("RGBA", (6000, 4000), {"colour": pngs.COLOUR_ALPHA}),
        ("RGBA, 16 bits", (4400, 3000), {"depth": 16, "colour": pngs.COLOUR_ALPHA}),
        ("grey and alpha, 16 bits", (6000, 4000), {"depth": 16, "colour": pngs.GREY_ALPHA}),
    ):
        most = partial(pngs.flat, width, height, **options)
        yield f"PNG, {name}, {width * height / 10**6:g} megapixels", Bomb(most, READ)
        yield f"PNG, {name}", Bomb(partial(flat, **options), TOO_COSTLY)
    yield "PNG, second header", Bomb(_png_of_two_headers, TOO_COSTLY)


def _png_of_two_headers() -> bytes:
    large = pngs.flat(WIDTH, HEIGHT, depth=16, colour=pngs.COLOUR_ALPHA)
    return pngs.small()[:33] + large[8:]


def _jpeg_pixels() -> Iterator[tuple[str, Bomb]]:
    for name, parts in {"grey": GREY, "RGB": FULL_COLOUR, "CMYK": INKS}.items():
        numbers = range(1, len(parts) + 1)
        baseline = partial(jpegs.baseline, WIDTH, HEIGHT)
        jpeg = partial(jpegs.jpeg, WIDTH, HEIGHT, parts)
        apart = [baseline([number]) for number in numbers]
        coarse = jpegs.coarse(WIDTH, HEIGHT, numbers)
        fine = jpegs.refinement(WIDTH, HEIGHT)
        within = TOO_COSTLY if parts is INKS else READ
        for kind, becomes, make in (
            ("at once", READ, partial(jpeg, baseline(numbers), frame=jpegs.BASELINE)),
            ("component by component", within, partial(jpeg, *apart, frame=jpegs.BASELINE)),
            ("progressive", within, partial(jpeg, coarse, fine, frame=jpegs.PROGRESSIVE)),
            (
                "10 scans",
                within,
                partial(jpeg, coarse, *[fine] * 9, frame=jpegs.PROGRESSIVE),
            ),
            (
                "25 scans",
                TOO_COSTLY,
                partial(jpeg, coarse, *[fine] * 24, frame=jpegs.PROGRESSIVE),
            ),
            (
                "10,000 scans",
                TOO_COSTLY,
                partial(jpeg, coarse, *[fine] * 9_999, frame=jpegs.PROGRESSIVE),
            ),
            ("arithmetic", DAMAGED, partial(jpeg, coarse, frame=jpegs.ARITHMETIC_PROGRESSIVE)),
            ("lossless", DAMAGED, partial(jpeg, baseline(numbers), frame=jpegs.LOSSLESS)),
        ):
            yield f"JPEG, {name}, {kind}", Bomb(make, becomes)
    empty = partial(jpegs.jpeg, 65_535, 610, FULL_COLOUR, frame=jpegs.PROGRESSIVE)
    yield (
        "JPEG, 100 scans of nothing",
        Bomb(partial(empty, *[jpegs.start([1, 2, 3], 0, 0)] * 100), TOO_COSTLY),
    )
    yield "JPEG, second frame", Bomb(_jpeg_of_two_frames, TOO_LARGE)


def _jpeg_of_two_frames() -> bytes:
    large = jpegs.jpeg(
        65_535, 65_535, FULL_COLOUR, jpegs.start([1, 2, 3], 0, 0), frame=jpegs.PROGRESSIVE
    )
    small = metadata.photo("JPEG")
    start, end = small.index(b"\xff\xc0"), small.index(b"\xff\xc4")
    return large[:2] + small[start:end] + large[2:]


def _other_pixels() -> Iterator[tuple[str, Bomb]]:
    large, most, phone = (WIDTH, HEIGHT), (4700, 3000), (4000, 3000)
    for name, mode, size, options, becomes in (
        ("lossy", _RGB, large, {"quality": 0}, TOO_COSTLY),
        ("lossy", _RGB, most, {"quality": 0}, READ),
        ("lossy and alpha", _RGBA, phone, {"quality": 0}, READ),
        ("lossless", _RGB, large, {"lossless": True}, TOO_COSTLY),
        ("lossless", _RGB, most, {"lossless": True}, READ),
        ("lossless and alpha", _RGBA, most, {"lossless": True}, READ),
    ):
        make = partial(_written, "WEBP", mode, size, method=0, **options)
        yield f"WebP, {name}, {size[0] * size[1] / 10**6:g} megapixels", Bomb(make, becomes)
    yield "GIF", Bomb(partial(_written, "GIF", "P", large), READ)
    yield "GIF, transparent", Bomb(partial(_written, "GIF", "P", large, transparency=0), READ)


def _written(format_name: str, mode: str, size: tuple[int, int], **options: object) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, format_name, **options)
    return file.getvalue()


def _shapes() -> Iterator[tuple[str, Bomb]]:
    for width, height, becomes in (
        (65_535, 1, READ),
        (1, 65_535, READ),
        (65_535, 488, READ),
        (488, 65_535, READ),
        (65_535, 610, TOO_COSTLY),
    ):
        yield f"PNG, {width} x {height}", Bomb(partial(pngs.flat, width, height), becomes)
    yield "PNG, 40,000,000 x 1", Bomb(partial(pngs.flat, 40_000_000, 1), TOO_LARGE)
    yield "PNG, 41 megapixels", Bomb(partial(pngs.flat, 8_200, 5_000), TOO_LARGE)
    yield (
        "JPEG, 65,535 x 65,535",
        Bomb(partial(jpegs.jpeg, 65_535, 65_535, GREY, frame=jpegs.PROGRESSIVE), TOO_LARGE),
    )
    yield "PNG, cut short", Bomb(lambda: pngs.flat(WIDTH, HEIGHT)[:60_000], DAMAGED)
    yield (
        "JPEG, cut short",
        Bomb(
            lambda: jpegs.jpeg(
                WIDTH, HEIGHT, GREY, jpegs.baseline(WIDTH, HEIGHT, [1]), frame=jpegs.BASELINE
            )[:60_000],
            DAMAGED,
        ),
    )


def _metadata() -> Iterator[tuple[str, Bomb]]:
    for name, make in vars(metadata).items():
        if "_of_" in name and callable(make):
            yield name.replace("_", " "), Bomb(make, metadata.BECOMES.get(name, READ))
    for kind, before in {"iCCP": b"x\0\0", "zTXt": b"x\0\0", "iTXt": b"x\0\1\0\0\0"}.items():
        many = [(kind.encode(), before + pngs.inflating(1_000_000))] * 60
        one = (kind.encode(), before + pngs.inflating(900_000_000))
        yield f"PNG, 60 {kind} of 1 MB", Bomb(partial(pngs.small, *many), READ)
        yield f"PNG, {kind} of 900 MB", Bomb(partial(pngs.small, one), DAMAGED)
