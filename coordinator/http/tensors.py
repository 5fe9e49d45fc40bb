"""Values and bytes from a body, as tensors that fit what a model declares.

Plain functions over decoded values: no request, no format's parser. Called by
`payloads`. Types are looked at before anything is made of the values: nothing is
parsed, cut off or wrapped around, and what is refused has cost no memory.
"""

from __future__ import annotations

import binascii
import math
import struct
from functools import lru_cache
from typing import Any

from coordinator.errors import (
    DemitasseError,
    InputMismatch,
    InvalidBase64,
    InvalidBody,
    PayloadTooLarge,
)
from wire.errors import WireError
from wire.parameters import MAX_PARAMETER_BYTES, UnfitParameters, checked_parameters, too_large
from wire.tensor import MAX_RANK, Buffer, Tensor, TensorSpec, byte_size, made

_RAGGED = "the lists are not of equal length at every depth"
#: dtype -> format of the struct module, standard sizes.
_FORMATS = {
    "bool": "?",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
#: dtype -> what its values may be in Python. A boolean is no number, though Python has it as one.
_KINDS: dict[str, frozenset[type]] = {
    dtype: frozenset({bool} if dtype == "bool" else {int, float}) for dtype in _FORMATS
}
_LISTS = frozenset({list})
#: Of formats that were needed lately: half the time of `struct.pack`, which copies its arguments.
_struct = lru_cache(maxsize=256)(struct.Struct)


def from_value(name: str, spec: TensorSpec, value: Any) -> Tensor:
    """The tensor that a decoded JSON or MessagePack value stands for.

    Args:
        value: nested lists of numbers, or a map of `dtype`, `shape` and `data`
            (base64 in JSON, binary in MessagePack).

    Raises:
        InputMismatch, InvalidBase64: naming the input.
    """
    if type(value) is dict:
        return _binary_tensor(name, spec, value)
    dtype, declared = spec
    if (
        type(value) is list
        and len(declared) == 1
        and declared[0] in (-1, len(value))
        and _KINDS[dtype].issuperset(map(type, value))
    ):
        shape: tuple[int, ...] = (len(value),)  # most are one row of numbers
    else:
        shape, value = _flattened(name, dtype, value)
        if reason := spec.mismatch(dtype, shape):
            raise _mismatch(name, reason)
    return made(Tensor, (dtype, shape, _packed(name, dtype, value)))


def _flattened(name: str, dtype: str, value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested lists, and what is in the innermost ones, one after another."""
    shape: list[int] = []
    level = [value]
    while level and _LISTS.issuperset(map(type, level)):
        length = len(level[0])
        if not {length}.issuperset(map(len, level)):
            raise _mismatch(name, _RAGGED)
        shape.append(length)
        if len(shape) > MAX_RANK:
            raise _mismatch(name, f"the lists are nested more than {MAX_RANK} deep")
        inside: list[Any] = []
        for each in level:
            inside += each
        level = inside
    if not _KINDS[dtype].issuperset(map(type, level)):
        ragged = list in map(type, level)
        raise _mismatch(name, _RAGGED if ragged else f"the values are not all {dtype}")
    return tuple(shape), level


def _packed(name: str, dtype: str, values: list[Any]) -> bytes:
    """The bytes of such values: for a float dtype rounded to the nearest there is, else exact.

    Without numpy: for the short rows that come as JSON, its half a dozen calls cost 17
    microseconds of a request and this 3 (2026-11, 2 cores, 64-byte body).
    """
    format_ = _FORMATS[dtype]
    try:
        data = _struct(f"<{len(values)}{format_}").pack(*values)
    except (struct.error, OverflowError) as error:
        raise _mismatch(name, f"the values are not all {dtype}") from error
    if format_ in "efd" and not _all_finite(values):
        raise _mismatch(name, "a value is not finite")
    return data


def _all_finite(values: list[float]) -> bool:
    """A sum is quick to look at; one that overflows says nothing about its numbers."""
    try:
        if math.isfinite(sum(values)):
            return True
    except OverflowError:  # of whole numbers, none of which is too large by itself
        pass
    return all(map(math.isfinite, values))


def _binary_tensor(name: str, spec: TensorSpec, value: dict[str, Any]) -> Tensor:
    if value.keys() != {"dtype", "shape", "data"}:
        raise _mismatch(name, "expected nested lists, or an object with dtype, shape and data")
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if type(dtype) is not str or type(shape) is not list:
        raise _mismatch(name, "dtype must be a string and shape a list of integers")
    if type(data) is str:
        data = _base64(name, data)
    elif type(data) is not bytes:
        raise _mismatch(name, "data must be base64 in JSON and binary in MessagePack")
    try:
        tensor = Tensor.checked(dtype, shape, data)
    except WireError as error:
        raise _mismatch(name, str(error)) from error
    if reason := spec.mismatch(dtype, shape):
        raise _mismatch(name, reason)
    return tensor


def _base64(name: str, text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are ValueErrors
        raise InvalidBase64(
            f"input {name}: {_reason(error)}", field=f"inputs.{name}.data"
        ) from error


def _reason(error: ValueError) -> str:
    return "it has characters outside ASCII" if isinstance(error, UnicodeError) else str(error)


def from_bytes(name: str, spec: TensorSpec, body: Buffer) -> Tensor:
    """The bytes as the declared dtype and shape; one open axis is as long as they allow.

    Raises:
        InputMismatch: they are too many or too few, or several axes are open.
    """
    shape = list(spec.shape)
    open_axes = shape.count(-1)
    if open_axes > 1:
        raise _mismatch(name, f"{open_axes} of its axes are open; send JSON or MessagePack")
    if open_axes:
        row = byte_size(spec.dtype, [size for size in shape if size != -1])
        shape[shape.index(-1)] = len(body) // row if row else 0
    expected = byte_size(spec.dtype, shape)
    if len(body) != expected:
        raise _mismatch(
            name,
            f"{len(body)} bytes do not make {spec.dtype}{list(spec.shape)}"
            + ("" if open_axes else f", which takes {expected}"),
        )
    return Tensor(spec.dtype, tuple(shape), body)


def _mismatch(name: str, reason: str) -> InputMismatch:
    return InputMismatch(f"input {name}: {reason}", field=f"inputs.{name}")


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse what a host would: parameters mean the same in JSON and MessagePack.

    Raises:
        InvalidBody, PayloadTooLarge: naming the place.
    """
    try:
        checked_parameters(parameters)
    except UnfitParameters as error:
        raise _refusal(error) from error


def check_packed_parameters(packed: Buffer) -> None:
    """Refuse MessagePack that is too large before anything is made of it. As `check_parameters`."""
    if len(packed) > MAX_PARAMETER_BYTES:
        raise _refusal(too_large())


def _refusal(error: UnfitParameters) -> DemitasseError:
    kind = PayloadTooLarge if error.too_large else InvalidBody
    return kind(error.reason, field=error.place)
