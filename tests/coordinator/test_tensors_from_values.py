"""coordinator/http/tensors.py: numbers keep their value, or are refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InputMismatch, InvalidBody
from coordinator.http import tensors
from wire.tensor import DTYPES, TensorSpec

ROW, TABLE = (-1,), (-1, -1)
RANGES = {
    name: (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for name, dtype in DTYPES.items()
    if dtype.kind in "iu"
}


def nested(value, shape):
    """A row as it is, or the same numbers one level deeper, which go through numpy."""
    return value if shape == ROW else [value]


def tensor(dtype, shape, value):
    return tensors.from_value("x", TensorSpec(dtype, shape), value)


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize("dtype", RANGES)
def test_whole_numbers_up_to_the_ends_of_the_range_are_kept(dtype, shape):
    low, high = RANGES[dtype]
    if (dtype, shape) == ("uint64", TABLE):
        low = high  # numpy makes floats of 0 beside 2**64 - 1, and they are refused

    made = tensor(dtype, shape, nested([low, high], shape))

    assert made.array().ravel().tolist() == [low, high]


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("over", [-1, 1], ids=["below", "above"])
def test_whole_numbers_out_of_range_are_refused(dtype, shape, over):
    value = RANGES[dtype][0] - 1 if over < 0 else RANGES[dtype][1] + 1

    with pytest.raises(InputMismatch, match=dtype):
        tensor(dtype, shape, nested([value], shape))


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_rounded_as_numpy_does(dtype, shape):
    values = [0.1, -2.5, 3, 65504]

    made = tensor(dtype, shape, nested(values, shape))

    assert made.array().ravel().tolist() == np.array(values, DTYPES[dtype]).tolist()


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float16", 70000.0),
        ("float32", 1e39),
        ("float64", math.nan),
        ("float32", math.inf),
        ("float32", 10**400),
        ("float64", "1.5"),
        ("float64", None),
        ("float64", True),
        ("float64", b"1"),
        ("int32", 1.0),
        ("int32", True),
        ("int32", "1"),
        ("bool", 1),
        ("bool", "true"),
    ],
)
def test_what_would_change_its_value_is_refused(dtype, shape, value):
    with pytest.raises(InputMismatch, match="input x"):
        tensor(dtype, shape, nested([value], shape))


def test_booleans():
    assert tensor("bool", ROW, [True, False]).array().tolist() == [True, False]


def test_a_number_alone_is_a_tensor_without_axes():
    assert tensor("float32", (), 1.5).array().item() == 1.5


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_an_empty_list_is_an_empty_row(dtype):
    assert tensor(dtype, ROW, []).shape == (0,)


@pytest.mark.parametrize(
    ("shape", "value", "reason"),
    [
        ((2,), [1, 2, 3], r"shape is \[3\], expected \[2\]"),
        ((2,), [[1, 2]], r"shape is \[1, 2\], expected \[2\]"),
        ((-1, 2), [1, 2], r"shape is \[2\], expected \[-1, 2\]"),
        ((-1, 2), [[1, 2], [3]], "not of equal length"),
        ((2,), 5, r"shape is \[\], expected \[2\]"),
    ],
)
def test_another_shape_is_refused_in_words(shape, value, reason):
    with pytest.raises(InputMismatch, match=reason):
        tensor("float32", shape, value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"dtype": "uint8", "shape": [1]},
        {"dtype": "uint8", "shape": [1], "data": b"1", "more": 1},
        {"dtype": 5, "shape": [1], "data": b"1"},
        {"dtype": "uint8", "shape": 1, "data": b"1"},
        {"dtype": "uint8", "shape": [1], "data": [1]},
        {"dtype": "uint8", "shape": [True], "data": b"1"},
        {"dtype": "uint8", "shape": [-1], "data": b"1"},
        {"dtype": "uint8", "shape": [2**40, 2**40], "data": b"1"},
        {"dtype": "uint8", "shape": [1] * 100, "data": b"1"},
        {"dtype": "int8", "shape": [1], "data": b"1"},
        {"dtype": "uint8", "shape": [1], "data": b"12"},
    ],
)
def test_a_broken_binary_tensor_is_refused(value):
    with pytest.raises(InputMismatch, match="input x"):
        tensor("uint8", ROW, value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (2**63, "parameters.a"),
        (math.nan, "parameters.a"),
        (b"bytes", "parameters.a"),
        ([0, {"b": math.inf}], r"parameters.a\[1\].b"),
        ({1: 2}, "parameters.a"),
    ],
)
def test_parameters_that_json_cannot_say_are_refused(value, place):
    with pytest.raises(InvalidBody) as refusal:
        tensors.check_parameters({"a": value})
    assert refusal.value.field == place.replace("\\", "")


def test_parameters_nested_without_end_are_refused():
    value: list = []
    for _ in range(100):
        value = [value]

    with pytest.raises(InvalidBody, match="deep"):
        tensors.check_parameters({"a": value})


@given(
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans(), max_size=5),
)
def test_a_row_and_the_same_row_one_level_deeper_fare_alike_or_neither_lies(dtype, values):
    """Only a mixture of booleans and numbers is seen by one and taken as numbers by the other."""
    try:
        row = tensor(dtype, ROW, values).array().tolist()
    except InputMismatch:
        return
    table = tensor(dtype, TABLE, [values]).array().tolist()[0]

    assert row == table
    assert np.allclose(row, [float(value) for value in values], rtol=1e-2, atol=1e-2)
