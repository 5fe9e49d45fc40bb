"""The three ways to a wanted size, and the filter that models are trained on."""

from __future__ import annotations

import numpy as np
import pytest
from photos import psnr
from PIL import Image, ImageOps

from preprocess.transforms import Picture, Resize, Transform, render

BICUBIC = Image.Resampling.BICUBIC
RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]


def picture(pixels: np.ndarray) -> Picture:
    height, width = pixels.shape[:2]
    return Picture(Image.fromarray(pixels), (width, height), 1, "PNG", width, height)


def stripes(*colours: list[int], width: int, height: int) -> np.ndarray:
    """Vertical stripes, each `width` wide."""
    row = np.repeat(np.array(colours, np.uint8), width, axis=0)
    return np.repeat(row[np.newaxis], height, axis=0)


def test_stretch_uses_the_whole_picture():
    wide = picture(stripes(RED, GREEN, BLUE, width=40, height=40))

    array = render(wide, Transform(30, 30, Resize.STRETCH))

    assert array[15, [5, 15, 25]].tolist() == [RED, GREEN, BLUE]


def test_crop_keeps_the_centre_of_a_wide_picture():
    wide = picture(stripes(RED, GREEN, BLUE, width=40, height=40))

    array = render(wide, Transform(20, 20, Resize.CROP))

    # The kernel reaches half a pixel over the edge, as if the picture were resized, then cut.
    assert array[:, 0, 1].tolist() == array[:, -1, 1].tolist() == [238] * 20
    assert np.array_equal(array[:, 1:-1], stripes(GREEN, width=18, height=20))


def test_crop_keeps_the_centre_of_a_tall_picture():
    tall = picture(stripes(RED, GREEN, BLUE, width=40, height=40).transpose(1, 0, 2).copy())

    array = render(tall, Transform(20, 20, Resize.CROP))

    assert np.array_equal(array[1:-1], stripes(GREEN, width=20, height=18))


def test_pad_puts_black_below_a_wide_picture():
    wide = picture(stripes(RED, width=40, height=20))

    array = render(wide, Transform(16, 16, Resize.PAD))

    assert np.array_equal(array[:8], stripes(RED, width=16, height=8))
    assert not array[8:].any()


def test_pad_puts_black_to_the_right_of_a_tall_picture():
    tall = picture(stripes(RED, width=20, height=40))

    array = render(tall, Transform(16, 16, Resize.PAD))

    assert np.array_equal(array[:, :8], stripes(RED, width=8, height=16))
    assert not array[:, 8:].any()


def test_pad_places_a_picture_that_lies_on_its_side_as_it_stands():
    lying = Image.fromarray(stripes(RED, GREEN, width=20, height=20))

    array = render(Picture(lying, (40, 20), 6, "JPEG", 20, 40), Transform(16, 16, Resize.PAD))

    assert array[2, 3].tolist() == RED
    assert array[13, 3].tolist() == GREEN
    assert not array[:, 8:].any()


@pytest.mark.parametrize("resize", Resize)
def test_a_picture_of_the_wanted_size_is_not_touched(resize):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)

    assert np.array_equal(render(picture(pixels), Transform(24, 32, resize)), pixels)


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 700)])
def test_any_proportions_can_be_rendered(size, resize):
    array = render(picture(np.full((*size, 3), 255, np.uint8)), Transform(20, 30, resize))

    assert array.shape == (20, 30, 3)
    assert array[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [(12, 21, (42, 3)), (46, 1, (2, 3)), (5, 2, (3, 4)), (1, 46, (3, 2))],
)
def test_a_part_whose_pixels_fall_exactly_on_those_of_the_source_can_be_enlarged(
    width, height, wanted
):
    """The resizer that shrinks ends the process where it is given one of these."""
    array = render(
        picture(stripes(RED, width=width, height=height)), Transform(*wanted, Resize.CROP)
    )

    assert np.array_equal(array, stripes(RED, width=wanted[1], height=wanted[0]))


def test_the_partly_filled_last_column_of_a_reduced_jpeg_counts_by_its_part():
    reduced = Image.fromarray(stripes(RED, GREEN, BLUE, width=1, height=2))

    array = render(Picture(reduced, (2, 2), 1, "JPEG", 16, 16), Transform(2, 2, Resize.STRETCH))

    assert array[0].tolist() == [RED, GREEN]


def test_shrinking_averages_instead_of_picking():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = np.repeat(checkers[..., np.newaxis], 3, axis=2).astype(np.uint8)

    array = render(picture(pixels), Transform(8, 8, Resize.STRETCH))

    assert np.abs(array[2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_the_filter_is_bicubic():
    """Worked out by hand from the kernel with a = -0.5: a change fails every trained model."""
    edge = picture(stripes([0] * 3, [200] * 3, width=4, height=1))

    larger = render(edge, Transform(1, 16, Resize.STRETCH))[0, :, 0]
    smaller = render(edge, Transform(1, 4, Resize.STRETCH))[0, :, 0]

    # Undershoots are cut off at 0; 203, 205 and 214 are the overshoot.
    assert larger.tolist() == [0] * 6 + [0, 41, 159, 214, 205] + [200] * 5
    assert smaller.tolist() == [0, 13, 187, 203]


@pytest.mark.parametrize("size", [(300, 200), (97, 131)])
@pytest.mark.parametrize("resize", Resize)
def test_what_is_drawn_is_what_pillow_would_draw(size, resize):
    """Models are trained with Pillow. Its images are read in memory here: a release that laid
    them out otherwise would show nonsense."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    side = 64
    fitted = {
        Resize.STRETCH: lambda: noise.resize((side, side), BICUBIC),
        Resize.CROP: lambda: ImageOps.fit(noise, (side, side), BICUBIC),
        Resize.PAD: lambda: ImageOps.pad(noise, (side, side), BICUBIC, centering=(0, 0)),
    }[resize]()

    array = render(picture(np.asarray(noise)), Transform(side, side, resize))

    assert psnr(array, np.asarray(fitted)) > 50


def test_an_array_belongs_to_its_caller():
    white = picture(stripes([255] * 3, width=8, height=8))
    transform = Transform(8, 8, Resize.STRETCH)
    first = render(white, transform)

    first[:] = 0

    assert render(white, transform).all()
    assert first.flags.c_contiguous
