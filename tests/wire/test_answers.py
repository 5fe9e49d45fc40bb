"""Answers: JSON values and arrays, or a WireError that names the place."""

from __future__ import annotations

import contextlib
import enum
import math
from collections import OrderedDict, UserDict
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wire.answers import Answer, pack_answer, unpack_answer
from wire.errors import WireError
from wire.tensor import Tensor


def there_and_back(value: Any) -> Any:
    packed, arrays = pack_answer(value)
    return unpack_answer(Answer(packed, [Tensor.from_array(array) for array in arrays]))


class Colour(enum.IntEnum):
    RED = 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values))
def test_json_values_arrive_as_they_were(value: dict[str, Any]) -> None:
    assert there_and_back(value) == value


@pytest.mark.parametrize(
    ("value", "there"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
    ],
    ids=repr,
)
def test_relatives_of_json_values_become_them(value: Any, there: Any) -> None:
    result = there_and_back({"a": value})["a"]

    assert result == there
    assert type(result) is type(there)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": math.nan}, "a is nan, which JSON cannot carry"),
        ({"tags": [{"score": math.inf}]}, r"tags\[0\]\.score is inf"),
        ({"a": np.float32("nan")}, "a is nan"),
        ({"a": np.array([1, math.inf])}, "a holds NaN or infinity"),
        ({"a": np.array([math.nan], np.float16)}, "a holds NaN"),
        ({"a": 2**63}, "a does not fit into 64 bits"),
        ({"a": -(2**63) - 1}, "a does not fit into 64 bits"),
        ({"a": np.uint64(2**63)}, "a does not fit into 64 bits"),
        ({"a": "\ud800"}, "a is not valid Unicode"),
        ({"\ud800": 1}, "not valid Unicode"),
        ({1: 2}, "the answer has a key that is not a string"),
        ({"a": {None: 2}}, "a has a key that is not a string"),
        ({"a": b"x"}, "a is bytes, which is not a JSON value"),
        ({"a": {1, 2}}, "a is set"),
        ({"a": object()}, "a is object"),
        ({"a": 1j}, "a is complex"),
        ({"a": Colour.RED}, "a is Colour"),
        ({"a": np.complex64(1)}, "a is complex"),
        ({"a": np.longdouble(1)}, "a is longdouble, which is not a JSON value"),
        ({"a": np.datetime64("2026-01-01")}, "a is date"),
        ({"a": np.array(["x"])}, "a has dtype <U1, which does not travel"),
        ({"a": np.array([None])}, "a has dtype object"),
        ([], "the answer is list, expected a mapping"),
        (None, "the answer is NoneType"),
        ("text", "the answer is str"),
    ],
)
def test_what_json_cannot_carry_is_named_by_its_place(value: Any, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        pack_answer(value)


def test_an_answer_within_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["me"] = value

    with pytest.raises(WireError, match="nested more than 32 deep"):
        pack_answer(value)


def test_arrays_are_numbered_in_order() -> None:
    arrays = [np.full((2, index % 3), index, np.int64) for index in range(300)]

    result = there_and_back({"all": arrays, "last": np.array(1.5)})

    assert [tensor.array().tolist() for tensor in result["all"]] == [a.tolist() for a in arrays]
    assert result["last"].array() == 1.5


def test_more_arrays_than_numbers_are_refused() -> None:
    with pytest.raises(WireError, match="more than 65536 arrays"):
        pack_answer({"all": [np.array(0)] * 65537})


# What arrives.


@given(st.binary(max_size=60))
@example(b"\x91" * 5000)
@example(b"\x81\xa1a\xd6\xff\x00\x00\x00\x01")  # msgpack's own timestamp
@example(b"\x81\xa1a\xdd\xff\xff\xff\xff")
def test_garbage_raises_nothing_but_a_wire_error(packed: bytes) -> None:
    with contextlib.suppress(WireError):
        unpack_answer(Answer(packed, []))


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb({"a": msgpack.ExtType(1, b"\x01")}),
        msgpack.packb({"a": msgpack.ExtType(1, b"\x00\x01")}),
        msgpack.packb({"a": msgpack.ExtType(2, b"\x00")}),
        msgpack.packb({"a": msgpack.Timestamp(1)}),
        msgpack.packb({"a": msgpack.Timestamp(2**40, 5)}),
        msgpack.packb([1]),
        msgpack.packb(None),
        msgpack.packb({}) + b"\x00",
        b"",
    ],
    ids=[
        "no such tensor", "no such tensor, two bytes", "unknown extension", "timestamp",
        "long timestamp", "a list", "nothing", "trailing bytes", "empty",
    ],
)  # fmt: skip
def test_what_pack_answer_does_not_make_is_refused(packed: bytes) -> None:
    with pytest.raises(WireError):
        unpack_answer(Answer(packed, [Tensor("uint8", (1,), b"\x00")]))
