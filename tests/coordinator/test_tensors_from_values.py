"""coordinator/http/tensors.py: numbers keep their value, or are refused."""

import math
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InputMismatch, InvalidBody, PayloadTooLarge
from coordinator.http import tensors
from model_registry.settings import MAX_BATCH_SIZE_RANGE
from wire.batches import Run, TensorRef
from wire.batches import decode as decode_batch
from wire.examples import Predict
from wire.frames import MAX_HEAD_BYTES, FrameReader
from wire.heads import pack
from wire.messages import decode as decode_message
from wire.parameters import MAX_PARAMETER_BYTES
from wire.tensor import DTYPES, Tensor, TensorSpec

ROW, TABLE = (-1,), (-1, -1)
RANGES = {
    name: (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for name, dtype in DTYPES.items()
    if dtype.kind in "iu"
}


def nested(value, shape):
    """A row as it is, or the same numbers one level deeper, which go another way."""
    return value if shape == ROW else [value]


def tensor(dtype, shape, value):
    return tensors.from_value("x", TensorSpec(dtype, shape), value)


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize("dtype", RANGES)
def test_whole_numbers_up_to_the_ends_of_the_range_are_kept(dtype, shape):
    low, high = RANGES[dtype]

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
        ("int32", b"1"),
        ("int32", [2]),
        ("int32", "1"),
        ("bool", 1),
        ("bool", "true"),
    ],
)
def test_what_would_change_its_value_is_refused(dtype, shape, value):
    with pytest.raises(InputMismatch, match="input x"):
        tensor(dtype, shape, nested([value], shape))


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [("float32", [1, True]), ("int64", [True, 2]), ("float64", [0.5, False]), ("bool", [True, 1])],
)
def test_a_boolean_is_no_number_whatever_stands_beside_it(dtype, values, shape):
    with pytest.raises(InputMismatch, match=f"not all {dtype}"):
        tensor(dtype, shape, nested(values, shape))


@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float64", [2**53 + 1]),
        ("float32", [2**24 + 1, 0.1]),
        ("float64", [10**30, -(10**300)]),
        ("float64", [10**308] * 100),
    ],
    ids=["2**53+1", "2**24+1", "beyond 64 bits", "a sum beyond all floats"],
)
def test_for_a_float_input_a_whole_number_of_any_length_is_rounded_as_one_with_a_point_is(
    dtype, values, shape
):
    made = tensor(dtype, shape, nested(values, shape))
    pointed = tensor(dtype, shape, nested([float(value) for value in values], shape))

    assert made == pointed


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
@pytest.mark.parametrize("shape", [ROW, TABLE], ids=["row", "table"])
def test_texts_are_refused_before_memory_is_taken_for_them(dtype, shape):
    """numpy would make all as long as the longest: 2 GB of these."""
    value = nested(["x" * 250_000] + [""] * 2000, shape)

    tracemalloc.start()
    try:
        with pytest.raises(InputMismatch, match=f"not all {dtype}"):
            tensor(dtype, shape, value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2**20


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
        ((-1, 2), [[1, 2], 3], "not of equal length"),
        ((1,), [[[[[[[[[1]]]]]]]]], "nested more than 8 deep"),
        ((-1, 2), [[], []], r"shape is \[2, 0\], expected \[-1, 2\]"),
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


def test_the_field_and_the_text_of_a_refusal_are_short_however_long_what_was_sent():
    unfit = {"k" * 100_000: {"l" * 100_000: [{"m" * 100_000: [2**63]}]}}
    with pytest.raises(InvalidBody) as refusal:
        tensors.check_parameters({"k" * 10_000: [math.nan]})
    assert refusal.value.field == f"parameters.{'k' * 61}...[0]"
    with pytest.raises(PayloadTooLarge):
        tensors.check_parameters(unfit)

    with pytest.raises(InputMismatch) as mismatch:
        tensor("uint8", ROW, {"dtype": "d" * 100_000, "shape": [1], "data": b"1"})
    assert len(mismatch.value.detail) < 400


@pytest.mark.parametrize(
    "value",
    [
        {"a" * MAX_PARAMETER_BYTES: 1},
        {"a": "x" * MAX_PARAMETER_BYTES},
        {"a": ["\u00e9" * (MAX_PARAMETER_BYTES // 2)]},
        {"a": [0] * MAX_PARAMETER_BYTES},
        {"a": [0.5] * (MAX_PARAMETER_BYTES // 9 + 1)},
        {"a": [[]] * MAX_PARAMETER_BYTES},
        {str(n): n for n in range(MAX_PARAMETER_BYTES // 4)},
    ],
    ids=["key", "text", "text in UTF-8", "numbers", "wide numbers", "lists", "keys"],
)
def test_parameters_that_are_too_large_are_refused(value):
    with pytest.raises(PayloadTooLarge, match="16000 bytes") as refusal:
        tensors.check_parameters(value)
    assert refusal.value.field == "parameters"


def test_the_largest_parameters_and_the_deepest_are_taken():
    room = MAX_PARAMETER_BYTES - len(msgpack.packb({"a": "", "b": innermost(31)})) - 2
    value = {"a": "x" * room, "b": innermost(31)}
    assert len(msgpack.packb(value)) == MAX_PARAMETER_BYTES

    tensors.check_parameters(value)

    with pytest.raises(PayloadTooLarge):
        tensors.check_parameters({**value, "a": "x" * (room + 1)})


def innermost(levels, inside=None):
    value = {} if inside is None else inside
    for _ in range(levels - 1):
        value = [value]
    return value


#: Also what no decoder makes: the rule does not lean on them.
_PARAMETERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(max_size=2)
    | st.integers(28, 34).map(innermost)
    | st.sampled_from([MAX_PARAMETER_BYTES - 20, MAX_PARAMETER_BYTES]).map("x".__mul__),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 1) | st.binary(max_size=1), inside)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), _PARAMETERS, max_size=3))
def test_what_the_coordinator_lets_through_the_host_takes_and_its_worker_too(parameters):
    try:
        tensors.check_parameters(parameters)
    except (InvalidBody, PayloadTooLarge):
        return
    x = Tensor("uint8", (1,), b"1")
    (asked,) = FrameReader().feed(b"".join(Predict(1, {"x": x}, None, parameters).encode()))
    heard = decode_message(asked)
    assert isinstance(heard, Predict)
    assert heard.parameters == parameters
    ref = TensorRef("uint8", (1, 1), 0, False)
    (run,) = FrameReader().feed(b"".join(Run(1, 1, {"x": ref}, [heard.parameters]).encode()))
    assert decode_batch(run).parameters == [parameters]


def test_the_largest_batch_of_the_largest_parameters_fits_into_one_head():
    """A Run has those of all its examples in its head, and workers take no longer one."""
    size = MAX_BATCH_SIZE_RANGE[1]
    parameters = {"a": "x" * (MAX_PARAMETER_BYTES - len(msgpack.packb({"a": ""})) - 2)}
    tensors.check_parameters(parameters)
    ref = TensorRef("float32", (size, *[2**31 - 1] * 7), 2**40, False)

    head = pack(
        {
            "size": size,
            "inputs": {"n" * 64 + str(n): ref for n in range(64)},
            "parameters": [parameters] * size,
        }
    )

    assert len(head) < MAX_HEAD_BYTES


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
def test_a_row_and_the_same_row_one_level_deeper_fare_alike(dtype, values):
    try:
        row = tensor(dtype, ROW, values)
    except InputMismatch:
        with pytest.raises(InputMismatch):
            tensor(dtype, TABLE, [values])
        return
    table = tensor(dtype, TABLE, [values])

    assert row.data == table.data
    assert np.allclose(row.array(), [float(value) for value in values], rtol=1e-2, atol=1e-2)
