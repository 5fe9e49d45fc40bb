"""coordinator/http/replies.py: answers as bytes."""

import json
import math

import msgpack
import numpy as np
import pytest

from coordinator.errors import NotServing
from coordinator.http import replies
from wire.tensor import Tensor

MASK = Tensor("uint8", (2, 2), bytes([1, 2, 3, 4]))


def written(answer, accept: str | None = None):
    return replies.answer(answer, accept)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/*",
        "application/json",
        "text/html",
        "text/html, */*;q=0.8",
        "application/msgpack;q=0",
        "application/msgpack; q=0.000, */*",
        "application/msgpack;q=0.5, application/json",
        "application/msgpack;q=0.5, */*",
        "application/msgpack;Q=0.5, APPLICATION/JSON;q=0.6",
        "application/msgpack;q=2",
        "application/msgpackage",
        "application/json;q=0",
        "*/*;q=0",
        ",;,=",
    ],
)
def test_answers_are_json(accept):
    response = written({"tags": [{"label": "cät", "score": 0.5}], "n": None}, accept)

    assert response.content_type == "application/json"
    assert json.loads(response.body) == {"tags": [{"label": "cät", "score": 0.5}], "n": None}


@pytest.mark.parametrize(
    "accept",
    [
        "application/msgpack",
        "Application/MsgPack",
        "application/x-msgpack, */*;q=0.1",
        "application/json, application/msgpack",
        "*/*, application/msgpack",
        "application/json;q=0.5, application/msgpack ; v=1 ; q=0.9",
        "application/json;q=0, application/*",
        "text/html, application/msgpack;q=0.001",
    ],
)
def test_answers_are_msgpack_for_those_who_ask(accept):
    response = written({"n": 1}, accept)

    assert response.content_type == "application/msgpack"
    assert msgpack.unpackb(response.body) == {"n": 1}


@pytest.mark.parametrize("value", [MASK, MASK.array()], ids=["tensor", "array"])
def test_arrays_are_nested_lists_in_json(value):
    response = written({"models": [{"output": {"mask": value}}]})

    assert json.loads(response.body) == {"models": [{"output": {"mask": [[1, 2], [3, 4]]}}]}


@pytest.mark.parametrize("value", [MASK, MASK.array()], ids=["tensor", "array"])
def test_arrays_are_dtype_shape_and_bytes_in_msgpack(value):
    response = written({"mask": [value]}, "application/msgpack")

    assert msgpack.unpackb(response.body) == {
        "mask": [{"dtype": "uint8", "shape": [2, 2], "data": bytes([1, 2, 3, 4])}]
    }


@pytest.mark.parametrize("accept", [None, "application/msgpack"])
def test_numpys_numbers_are_numbers(accept):
    body = written({"a": np.float32(0.5), "b": np.int64(3)}, accept).body

    read = msgpack.unpackb(body) if accept else json.loads(body)
    assert read == {"a": 0.5, "b": 3}


def test_an_error_in_an_answer_is_its_problem_document():
    error = json.loads(written({"error": NotServing(retry_after=2.0)}).body)["error"]

    assert (error["code"], error["status"], error["retry_after"]) == ("not-serving", 503, 2.0)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_never_shows_a_number_that_it_does_not_have(number):
    """They are refused where answers are packed; should one come here, it is null."""
    assert json.loads(written({"a": number}).body) == {"a": None}


def test_what_is_no_json_value_is_our_mistake():
    with pytest.raises(TypeError, match="object"):
        written({"a": object()})
