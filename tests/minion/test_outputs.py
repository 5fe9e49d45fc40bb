"""Answers beside what a manifest declares of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minion.worker.outputs import check_of
from wire.errors import WireError

TAGS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
        "required": ["label", "score"],
    },
}
ROW = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
MATRIX = {"type": "array", "items": ROW}
IDS = {"type": "array", "items": {"type": "integer"}}


def complaint(declared: dict[str, Any], answer: dict[str, Any]) -> str | None:
    """What is said of an answer, where anything is."""
    try:
        check_of(declared)(answer)
    except WireError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 1),
        ({"type": "number"}, 1.5),
        ({"type": "number"}, np.float32(1.5)),
        ({"type": "number"}, np.array(1.5)),
        ({"type": "integer"}, 1),
        ({"type": "integer"}, 2.0),
        ({"type": "integer"}, np.uint8(3)),
        ({"type": "boolean"}, np.bool_(True)),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, None),
        ({"type": "object"}, {}),
        ({"type": "array"}, ()),
        ({"type": "array"}, np.zeros(0)),
        ({"description": "whatever it is"}, object()),
        (TAGS, [{"label": "cat", "score": 1, "more": None}]),
        (TAGS, []),
        (ROW, [1, 2.0, 3]),
        (ROW, np.zeros(3, np.float16)),
        (ROW, np.zeros(3, np.int8)),
        (MATRIX, np.zeros((2, 3))),
        (MATRIX, [np.zeros(3), [1, 2, 3]]),
        (IDS, np.arange(4)),
        ({"type": "array", "items": {"type": "boolean"}}, np.zeros(2, bool)),
        ({"type": "array"}, np.zeros((2, 2))),
    ],
)
def test_what_was_declared_passes(schema: dict[str, Any], value: Any) -> None:
    assert complaint({"x": schema}, {"x": value, "not declared": 1}) is None


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"type": "number"}, "1", "x is string, declared is number"),
        ({"type": "number"}, True, "x is boolean, declared is number"),
        ({"type": "number"}, None, "x is null, declared is number"),
        ({"type": "number"}, np.zeros(1), "x is array, declared is number"),
        ({"type": "number"}, b"1", "x is bytes, declared is number"),
        ({"type": "integer"}, 1.5, "x is number, declared is integer"),
        ({"type": ["string", "null"]}, 1, "x is integer, declared is null or string"),
        ({"type": "object"}, [], "x is array, declared is object"),
        (TAGS, [{"label": 1, "score": 1}], "x[0].label is integer, declared is string"),
        (TAGS, [{"label": "a"}], "x[0] has no field 'score', which the model declares"),
        (ROW, [1, 2], "x has length 2, declared is 3"),
        (ROW, [1, 2, "3"], "x[2] is string, declared is number"),
        (ROW, np.zeros(4), "x has length 4, declared is 3"),
        (ROW, np.zeros((3, 1)), "x has 2 dimensions, declared are 1"),
        (MATRIX, np.zeros(3), "x has dtype float64 in 1 dimensions, declared is array"),
        (MATRIX, np.zeros((3, 2)), "x has length 2, declared is 3"),
        (IDS, np.zeros(3), "x has dtype float64 in 1 dimensions, declared is integer"),
        (
            {"type": "array", "maxItems": 1},
            [1, 2],
            "x has length 2, declared is at least 0 and at most 1",
        ),
        ({"type": "array", "minItems": 1}, [], "x has length 0, declared is at least 1"),
    ],
)
def test_what_was_not_declared_is_named(schema: dict[str, Any], value: Any, text: str) -> None:
    assert complaint({"x": schema}, {"x": value}) == text


def test_a_field_that_is_missing_is_named() -> None:
    told = complaint({"a": {}, "b": {}}, {"a": 1})

    assert told == "the answer has no field 'b', which the model declares"


def test_where_nothing_is_declared_everything_passes() -> None:
    assert complaint({}, {"x": object()}) is None
