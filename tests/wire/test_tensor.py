"""Tensors: sizes before memory, dtypes from the table, arrays in and out."""

from __future__ import annotations

import numpy as np
import pytest

from wire.errors import WireError
from wire.tensor import DTYPES, MAX_DIMENSION, Tensor, TensorSpec, byte_size


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_dtype_travels(name: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(DTYPES[name])

    tensor = Tensor.from_array(array)

    assert (tensor.dtype, tensor.shape) == (name, (2, 2))
    assert len(tensor.data) == byte_size(name, (2, 2))
    assert tensor.array().dtype == array.dtype
    np.testing.assert_array_equal(tensor.array(), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int16).reshape(3, 4).T,
        np.arange(12, dtype=np.int16)[::2],
        np.array([1, 2], ">i4"),
        np.array([1.5], ">f8"),
        np.float32(3),
        np.zeros((0, 4)),
        np.zeros((3, 0), ">u2"),
    ],
    ids=["transposed", "strided", "big endian", "big endian float", "scalar", "empty", "empty big"],
)
def test_an_array_of_any_layout_arrives_in_c_order(array: np.ndarray) -> None:
    array = np.asarray(array)

    there = Tensor.from_array(array).array()

    assert there.shape == array.shape
    assert there.flags.c_contiguous
    np.testing.assert_array_equal(there, array)


@pytest.mark.parametrize("dtype", ["object", "complex64", "U3", "S3", "M8[s]", "V4", "g"])
def test_other_dtypes_do_not_travel(dtype: str) -> None:
    with pytest.raises(WireError, match="does not travel"):
        Tensor.from_array(np.zeros(1, dtype))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float128", (1,)),
        ("f4", (1,)),
        ("float32", (-1,)),
        ("float32", (MAX_DIMENSION + 1,)),
        ("float32", (1.0,)),
        ("float32", (True,)),
        ("float32", (1,) * 9),
    ],
)
def test_sizes_of_what_is_no_tensor_are_refused(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(WireError):
        byte_size(dtype, shape)


def test_sizes_do_not_overflow() -> None:
    assert byte_size("float64", (MAX_DIMENSION,) * 8) == 8 * MAX_DIMENSION**8


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_buffer_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(WireError, match=r"bytes for float32\[2\], which takes 8"):
        Tensor.checked("float32", [2], bytes(length))


def test_a_buffer_is_not_copied() -> None:
    data = bytearray(8)
    array = Tensor.checked("float32", [2], data).array()

    data[0:4] = np.float32(1.5).tobytes()

    assert array[0] == 1.5


@pytest.mark.parametrize(
    ("spec", "dtype", "shape", "reason"),
    [
        (TensorSpec("uint8", (-1, 3)), "uint8", (7, 3), None),
        (TensorSpec("uint8", (-1, 3)), "uint8", (0, 3), None),
        (TensorSpec("uint8", ()), "uint8", (), None),
        (TensorSpec("uint8", (-1, 3)), "int8", (7, 3), "dtype is int8, expected uint8"),
        (TensorSpec("uint8", (-1, 3)), "uint8", (7, 4), "shape is [7, 4], expected [-1, 3]"),
        (TensorSpec("uint8", (-1, 3)), "uint8", (3,), "shape is [3], expected [-1, 3]"),
    ],
)
def test_a_mismatch_is_told_in_words(
    spec: TensorSpec, dtype: str, shape: tuple[int, ...], reason: str | None
) -> None:
    assert spec.mismatch(dtype, shape) == reason
