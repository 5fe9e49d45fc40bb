"""Values and bytes from a body, as tensors that fit what a model declares.

Plain functions over decoded values: no request, no format's parser. Called by
`payloads`. numpy's own generosity (parsed strings, cut fractions, wrapped
integers) ends here.
"""

from __future__ import annotations

import binascii
import math
import struct
from typing import Any

import numpy as np

from coordinator.errors import InputMismatch, InvalidBase64, InvalidBody
from wire.errors import WireError
from wire.tensor import DTYPES, Buffer, Tensor, TensorSpec, byte_size, made

_NUMBERS = frozenset({int, float})
#: dtype -> format of the struct module, standard sizes; bool is left out, since any value passes.
_FORMATS = {
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
#: Of a list with something else in it than numbers, numpy finds out what: a microsecond per item.
_EXPLAINED = 4096
MAX_DEPTH = 32  # of parameters, as of answers in wire/answers.py


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
    if type(value) is list and len(spec.shape) == 1 and spec.dtype in _FORMATS:
        if _NUMBERS.issuperset(map(type, value)):
            return _flat_tensor(name, spec, value)
        if len(value) > _EXPLAINED:
            raise _mismatch(name, f"the values are not all {spec.dtype}")
    return _nested_tensor(name, spec, value)


def _flat_tensor(name: str, spec: TensorSpec, value: list[float]) -> Tensor:
    """One row of numbers, packed without numpy.

    For the short rows that come as JSON, numpy's half a dozen calls cost 17
    microseconds of a request and this one 3 (2026-11, 2 cores, 64-byte body).
    """
    length = len(value)
    if spec.shape[0] not in (-1, length):
        raise _mismatch(name, spec.mismatch(spec.dtype, (length,)) or "")
    format_ = _FORMATS[spec.dtype]
    try:
        data = struct.pack(f"<{length}{format_}", *value)
    except (struct.error, OverflowError) as error:
        raise _mismatch(name, f"the values are not all {spec.dtype}") from error
    # A sum is quick to look at; one that overflows says nothing about its numbers.
    if format_ in "efd" and not (math.isfinite(sum(value)) or all(map(math.isfinite, value))):
        raise _mismatch(name, "a value is not finite")
    return made(Tensor, (spec.dtype, (length,), data))


def _nested_tensor(name: str, spec: TensorSpec, value: Any) -> Tensor:
    """A tensor from nested lists of numbers.

    numpy picks a dtype first and its kind is looked at, because asked for one
    it would cut fractions off, parse strings and wrap integers around. Not
    handled: whole numbers from 2**63 beside smaller ones, of which numpy makes
    floats; they are refused.
    """
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise _mismatch(name, "the lists are not of equal length at every depth") from error
    wanted = DTYPES[spec.dtype]
    if found.size and not _fits(found, wanted):
        raise _mismatch(name, f"the values are not all {spec.dtype}")
    with np.errstate(over="ignore"):
        array = found.astype(wanted, copy=False)
    if wanted.kind == "f" and not np.isfinite(array).all():
        raise _mismatch(name, f"a value is too large for {spec.dtype}")
    if reason := spec.mismatch(spec.dtype, array.shape):
        raise _mismatch(name, reason)
    return Tensor(spec.dtype, array.shape, array.tobytes())


def _fits(found: np.ndarray[Any, Any], wanted: np.dtype[Any]) -> bool:
    if wanted.kind == "b":
        return bool(found.dtype.kind == "b")
    if wanted.kind == "f":
        return bool(found.dtype.kind in "fiu")
    if found.dtype.kind not in "iu":
        return False
    limits = np.iinfo(wanted)
    lowest, highest = int(found.min()), int(found.max())
    return int(limits.min) <= lowest and highest <= int(limits.max)


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
    """Refuse what only one of JSON and MessagePack has: parameters mean the same in both.

    Raises:
        InvalidBody: naming the place.
    """
    _check(parameters, "parameters", 0)


def _check(value: Any, place: str, depth: int) -> None:
    kind = type(value)
    if depth > MAX_DEPTH:
        raise InvalidBody(f"nested more than {MAX_DEPTH} deep", field="parameters")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidBody("a key is not a string", field=place)
            _check(item, f"{place}.{key}", depth + 1)
    elif kind is list:
        for index, item in enumerate(value):
            _check(item, f"{place}[{index}]", depth + 1)
    elif kind is int:
        if not -(2**63) <= value < 2**63:
            raise InvalidBody("the integer does not fit into 64 bits", field=place)
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidBody(f"{value} is not a finite number", field=place)
    elif kind not in (str, bool, type(None)):
        raise InvalidBody(f"{kind.__name__} is not a JSON value", field=place)
