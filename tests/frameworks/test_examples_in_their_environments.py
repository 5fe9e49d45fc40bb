"""Each example package under its own interpreter, loaded the way a worker loads it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter


def test_torch_tagger_sees_a_cat_and_a_cup_of_coffee_in_one_batch(serve, photo):
    images = np.stack([photo("cat.jpg", 128), photo("coffee.jpg", 128)])

    answers = serve("tagger", image=images)

    assert [answer["tags"][0]["label"] for answer in answers] == ["cat", "coffee"]
    for answer in answers:
        scores = [tag["score"] for tag in answer["tags"]]
        assert scores == sorted(scores, reverse=True)


def spoilt_copies(image: np.ndarray) -> list[np.ndarray]:
    """Blurred, compressed, noisy and overexposed."""
    picture = Image.fromarray(image)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=8)
    noise = np.random.default_rng(0).normal(0, 45, image.shape)
    return [
        np.asarray(picture.filter(ImageFilter.GaussianBlur(3))),
        np.asarray(Image.open(file)),
        (image + noise).clip(0, 255).astype(np.uint8),
        (image.astype(int) * 4).clip(0, 255).astype(np.uint8),
    ]


def test_keras_aesthetics_prefers_an_unseen_photo_to_each_of_its_spoilt_copies(serve, photo):
    original = photo("coffee.jpg", 256)

    first, *spoilt = serve("aesthetics", image=np.stack([original, *spoilt_copies(original)]))

    assert all(0 <= answer["score"] <= 1 for answer in [first, *spoilt])
    assert all(answer["score"] < first["score"] - 0.1 for answer in spoilt)


SCENE = "a small red circle left of a big blue square on a white background"


@pytest.mark.parametrize("name", ["caption", "caption-frozen"])
def test_tensorflow_captioner_describes_a_scene_in_either_format(serve, photo, name):
    answers = serve(name, image=photo("scene.png", 96)[None])

    assert [answer["caption"] for answer in answers] == [SCENE]


def test_both_formats_of_the_captioner_say_the_same_of_a_photo(serve, photo):
    image = photo("cat.jpg", 96)[None]

    (saved,) = serve("caption", image=image)
    (frozen,) = serve("caption-frozen", image=image)

    assert frozen["caption"] == saved["caption"]
    assert frozen["confidence"] == pytest.approx(saved["confidence"], abs=1e-4)


ZERO = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


def test_onnx_digits_reads_a_zero_and_refuses_what_no_scanner_sends(serve):
    pixels = np.array([ZERO, np.full((8, 8), 99), np.full((8, 8), np.nan), ZERO], np.float32)

    answers = serve("digits", pixels=pixels)

    assert answers[0]["digit"] == 0
    assert sum(answers[0]["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert answers[1] == answers[2] == {"invalid": "pixels are numbers from 0 (paper) to 16 (ink)"}
    assert answers[3] == answers[0]


def test_the_models_of_an_analysis_prove_that_they_run_on_different_libraries(serve, photo):
    libraries = [
        serve(name, image=photo("cat.jpg", side)[None])[0]["library"]
        for name, side in [
            ("tagger", 128),
            ("aesthetics", 256),
            ("caption", 96),
        ]
    ]

    assert len({library["numpy"] for library in libraries}) == 3
    assert libraries[1]["tensorflow"] != libraries[2]["tensorflow"]
    assert libraries[0]["torch"].startswith("2.13.0")
