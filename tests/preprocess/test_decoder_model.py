"""The decoder through the author's contract, as a worker calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import GREY, encoded, photograph, png

from minion.model import Batch, InvalidInput, LoadContext
from preprocess.decode import decode_image
from preprocess.model import Decoder
from preprocess.transforms import Resize, Transform, render


def decoder(**options: Any) -> Decoder:
    model = Decoder()
    model.load(LoadContext(Path("."), "cpu", 1, 1, options))
    return model


def predict(model: Decoder, data: bytes, parameters: dict[str, Any]) -> Any:
    (answer,) = model.predict(
        Batch({"file": np.frombuffer(data, np.uint8)[np.newaxis]}, [parameters])
    )
    return answer


CROP = {"height": 24, "width": 32, "resize": "crop"}
PAD = {"height": 40, "width": 40, "resize": "pad"}
STRETCH = {"height": 8, "width": 64, "resize": "stretch"}


def test_an_answer_holds_one_array_per_transform_in_their_order():
    data = encoded(photograph(640, 427), "JPEG")
    transforms = [
        Transform(24, 32, Resize.CROP),
        Transform(40, 40, Resize.PAD),
        Transform(8, 64, Resize.STRETCH),
    ]
    picture = decode_image(data, max_pixels=10**6, transforms=transforms)

    answer = predict(decoder(), data, {"transforms": [CROP, PAD, STRETCH]})

    assert (answer["width"], answer["height"], answer["format"]) == (640, 427, "JPEG")
    assert len(answer["images"]) == 3
    for image, transform in zip(answer["images"], transforms, strict=True):
        assert image.dtype == np.uint8
        assert np.array_equal(image, render(picture, transform))


@pytest.mark.parametrize("parameters", [{}, {"transforms": []}], ids=["none", "empty"])
def test_without_transforms_the_file_is_still_checked(parameters):
    data = encoded(photograph(64, 48), "JPEG")

    assert predict(decoder(), data, parameters)["images"] == []
    assert predict(decoder(), data[:-200], parameters).code == "image-damaged"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "image-empty", id="empty"),
        pytest.param(b"%PDF-1.7", "image-format-unsupported", id="a PDF"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "image-damaged", id="cut short"),
        pytest.param(encoded(photograph(64, 48), "PNG"), "image-too-large", id="too many pixels"),
    ],
)
def test_a_bad_file_is_invalid_input_with_its_code(data, code):
    answer = predict(decoder(max_pixels=64 * 48 - 1), data, {"transforms": [CROP]})

    assert isinstance(answer, InvalidInput)
    assert (answer.index, answer.code) == (0, code)
    assert answer.reason


@pytest.mark.parametrize(
    "transforms",
    [
        pytest.param("crop", id="no list"),
        pytest.param(["crop"], id="no mapping"),
        pytest.param([{"height": 8, "width": 8}], id="a key too few"),
        pytest.param([{**CROP, "filter": "lanczos"}], id="a key too many"),
        pytest.param([{**CROP, "resize": "squash"}], id="unknown resize"),
        pytest.param([{**CROP, "resize": ["crop"]}], id="resize no text"),
        pytest.param([{**CROP, "height": 0}], id="no height"),
        pytest.param([{**CROP, "width": 4097}], id="too wide"),
        pytest.param([{**CROP, "width": 8.0}], id="width no integer"),
        pytest.param([{**CROP, "width": True}], id="width a truth"),
    ],
)
def test_a_transform_that_makes_no_sense_is_invalid_input(transforms):
    answer = predict(decoder(), encoded(photograph(64, 48), "PNG"), {"transforms": transforms})

    assert isinstance(answer, InvalidInput)
    assert answer.code == "invalid-input"


def test_one_bad_file_of_a_batch_fails_alone():
    good = np.frombuffer(encoded(photograph(64, 48), "JPEG"), np.uint8)
    files = np.stack([good, np.zeros_like(good)])

    answers = decoder().predict(Batch({"file": files}, [{"transforms": [CROP]}, {}]))

    assert answers[0]["images"][0].shape == (24, 32, 3)
    assert isinstance(answers[1], InvalidInput)
    assert (answers[1].index, answers[1].code) == (1, "image-format-unsupported")


def test_the_pixel_limit_is_forty_million_unless_the_operator_says_otherwise():
    at_the_limit = png((8000, 5000), 1, GREY, bytes(1000))
    above_it = png((8000, 5001), 1, GREY, bytes(1000))

    assert predict(decoder(), at_the_limit, {})["width"] == 8000
    assert predict(decoder(), above_it, {}).code == "image-too-large"
    assert predict(decoder(max_pixels=8000 * 5001), above_it, {})["height"] == 5001


@pytest.mark.parametrize("max_pixels", [0, -1, "40000000", 1e6, True, None])
def test_a_pixel_limit_that_makes_no_sense_fails_the_load(max_pixels):
    with pytest.raises(ValueError, match="max_pixels"):
        decoder(max_pixels=max_pixels)


def test_warmup_takes_no_offence_at_zeros():
    zeros = Batch({"file": np.zeros((1, 16), np.uint8)}, [{}])

    assert isinstance(decoder().predict(zeros)[0], InvalidInput)
    assert decoder().warmup(zeros) is None


def test_warmup_fails_where_a_photo_cannot_be_decoded():
    with pytest.raises(InvalidInput):
        decoder(max_pixels=1).warmup(Batch({"file": np.zeros((1, 16), np.uint8)}, [{}]))
