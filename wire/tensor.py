"""Tensors as they travel: a dtype name, a shape, and bytes in C order, little endian.

`Tensor` is a value around a buffer; `TensorSpec` is what a model declares and
what an incoming tensor is checked against. Sizes are computed in Python
integers before any memory is taken. Dtypes come from the table below; nothing
that arrives is ever handed to numpy as a dtype string.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple, Union

import numpy as np

from wire.errors import WireError
from wire.quoting import quoted, shortened

Buffer = Union[bytes, bytearray, memoryview]

#: Makes a named tuple of all its fields, for what is made per example: to call its class
#: takes twice as long (0.31 and 0.16 microseconds), since that is a function in Python.
made = tuple.__new__

#: Name on the wire -> numpy dtype. Names are those of the Open Inference
#: Protocol in lower case.
DTYPES = {
    "bool": np.dtype(np.bool_),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
ITEM_SIZES = {name: dtype.itemsize for name, dtype in DTYPES.items()}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

MAX_RANK = 8  # numpy allows 64; no published image, text or audio model needs more than 6
MAX_DIMENSION = 2**31 - 1


def byte_size(dtype: str, shape: Sequence[int]) -> int:
    """Bytes that a tensor of this dtype and shape takes.

    Raises:
        WireError: unknown dtype, too many dimensions, or one out of range.
    """
    size = ITEM_SIZES.get(dtype)
    if size is None:
        raise WireError(f"unknown dtype {quoted(dtype)}")
    if len(shape) > MAX_RANK:
        raise WireError(f"{len(shape)} dimensions, at most {MAX_RANK} are allowed")
    for dimension in shape:
        if type(dimension) is not int or not 0 <= dimension <= MAX_DIMENSION:
            kind = type(dimension)
            what = shortened(repr(dimension)) if kind is int else kind.__name__
            raise WireError(f"dimension {what} is not an integer from 0 to {MAX_DIMENSION}")
        size *= dimension
    return size


class Tensor(NamedTuple):
    """One array. `data` holds exactly `byte_size(dtype, shape)` bytes; the holder owns it."""

    dtype: str
    shape: Tuple[int, ...]
    data: Buffer

    @classmethod
    def checked(cls, dtype: str, shape: Sequence[int], data: Buffer) -> Tensor:
        """A tensor whose buffer was compared with its shape.

        Raises:
            WireError: as `byte_size`, or the buffer is longer or shorter.
        """
        expected = byte_size(dtype, shape)
        if len(data) != expected:
            raise WireError(f"{len(data)} bytes for {dtype}{list(shape)}, which takes {expected}")
        return cls(dtype, tuple(shape), data)

    @classmethod
    def from_array(cls, array: np.ndarray) -> Tensor:
        """A tensor over the array's memory, or over a copy if it is not C-contiguous.

        Raises:
            WireError: a dtype outside the table.
        """
        little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
        name = _NAMES.get(little)
        if name is None:
            raise WireError(f"dtype {array.dtype} does not travel")
        contiguous = np.ascontiguousarray(array, dtype=little)
        # An array without elements has no buffer to cast.
        data = contiguous.reshape(-1).view(np.uint8).data if contiguous.size else b""
        return cls(name, tuple(array.shape), data)

    def array(self) -> np.ndarray:
        """A view of the buffer, read-only where the buffer is."""
        return np.frombuffer(self.data, DTYPES[self.dtype]).reshape(self.shape)


class TensorSpec(NamedTuple):
    """What a model declares of one input: -1 stands for any length along that axis."""

    dtype: str
    shape: Tuple[int, ...]

    def mismatch(self, dtype: str, shape: Sequence[int]) -> Union[str, None]:
        """Why a tensor of this dtype and shape does not fit, in words for its sender; else None."""
        if dtype != self.dtype:
            return f"dtype is {dtype}, expected {self.dtype}"
        fits = len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape)
        )
        return None if fits else f"shape is {list(shape)}, expected {list(self.shape)}"
