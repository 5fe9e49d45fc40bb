"""A model's answer as bytes: msgpack, with arrays taken out and named by number.

The worker packs, hosts pass on, the coordinator unpacks; both ends meet here.
Answers carry JSON values only: NaN, infinities, lone surrogates and unknown
types are refused where the answer is made, so that nobody further on has to
look for them.
"""

from __future__ import annotations

import math
from typing import Any, List, NamedTuple, Sequence, Tuple

import msgpack
import numpy as np

from wire.errors import WireError
from wire.tensor import DTYPES, Buffer, Tensor

TENSOR_EXTENSION = 1
#: Of a placeholder. Below the four of msgpack's own timestamps, which are refused by it.
_MAX_EXTENSION_BYTES = 2
#: Of an answer without its arrays, which travel beside it. A megabyte is a long text already.
MAX_ANSWER_BYTES = 16 * 2**20
MAX_DEPTH = 32  # far above what a person would design, far below the recursion limit


class Answer(NamedTuple):
    """What a model said of one example: msgpack in which extension type 1 stands for a tensor.

    The extension's data is the index into `tensors`, one unsigned byte or
    two, little endian. Hosts pass `packed` on without looking inside.
    """

    packed: Buffer
    tensors: Sequence[Tensor]


def pack_answer(value: Any) -> Tuple[bytes, List[np.ndarray]]:
    """The answer as msgpack, and the arrays that its placeholders number.

    Raises:
        WireError: not a mapping, larger than MAX_ANSWER_BYTES, or something in it
            is not a JSON value; the text names the place, such as `tags[0].score`.
    """
    if not hasattr(value, "keys"):
        raise WireError(f"the answer is {type(value).__name__}, expected a mapping")
    arrays: List[np.ndarray] = []
    plain = _plain(value, arrays, "", 0)
    packed = msgpack.packb(plain)
    if len(packed) > MAX_ANSWER_BYTES:
        raise WireError(
            f"the answer takes {len(packed)} bytes without its arrays, "
            f"at most {MAX_ANSWER_BYTES} are allowed"
        )
    return packed, arrays


def unpack_answer(answer: Answer) -> Any:
    """The answer with a `Tensor` wherever the model had an array.

    Raises:
        WireError: not msgpack of a mapping, or a placeholder without a tensor.
    """
    tensors = answer.tensors

    def placeholder(code: int, data: bytes) -> Tensor:
        index = int.from_bytes(data, "little")
        if code != TENSOR_EXTENSION or index >= len(tensors):
            raise WireError("a placeholder stands for no tensor")
        return tensors[index]

    try:
        value = msgpack.unpackb(
            answer.packed, ext_hook=placeholder, max_ext_len=_MAX_EXTENSION_BYTES
        )
    except WireError:
        raise
    except Exception as error:  # msgpack raises half a dozen kinds, RecursionError among them
        raise WireError(f"the answer is not msgpack: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise WireError("the answer is not a map")
    return value


def _plain(value: Any, arrays: List[np.ndarray], place: str, depth: int) -> Any:
    kind = type(value)
    if kind is int:
        return _integer(value, place)
    if kind is str:
        return _text(value, place)
    if kind is float:
        return _finite(value, place)
    if value is None or kind is bool:
        return value
    if depth == MAX_DEPTH:
        raise WireError(f"{place} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, np.ndarray):
        return _placeholder(value, arrays, place)
    if isinstance(value, np.generic):
        return _plain(_unboxed(value, place), arrays, place, depth + 1)
    if hasattr(value, "keys"):
        return {
            key if type(key) is str and key.isascii() else _key(key, place): _plain(
                value[key], arrays, f"{place}.{key}" if place else str(key), depth + 1
            )
            for key in value
        }
    if isinstance(value, (list, tuple)):
        return [
            _plain(item, arrays, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)
        ]
    raise WireError(f"{place} is {kind.__name__}, which is not a JSON value")


def _unboxed(value: np.generic, place: str) -> Any:
    plain = value.item()
    if isinstance(plain, np.generic):  # longdouble, which Python has no type for
        raise WireError(f"{place} is {type(value).__name__}, which is not a JSON value")
    return plain


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise WireError(f"{place or 'the answer'} has a key that is not a string")
    return _text(key, place)


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"{place} is not valid Unicode") from error
    return value


def _finite(value: float, place: str) -> float:
    if not math.isfinite(value):
        raise WireError(f"{place} is {value}, which JSON cannot carry")
    return value


def _integer(value: int, place: str) -> int:
    if not -(2**63) <= value < 2**63:
        raise WireError(f"{place} does not fit into 64 bits")
    return value


def _placeholder(array: np.ndarray, arrays: List[np.ndarray], place: str) -> msgpack.ExtType:
    if array.dtype.newbyteorder("<") not in DTYPES.values():
        raise WireError(f"{place} has dtype {array.dtype}, which does not travel")
    if array.dtype.kind == "f" and not _all_finite(array):
        raise WireError(f"{place} holds NaN or infinity, which JSON cannot carry")
    index = len(arrays)
    if index >= 256**_MAX_EXTENSION_BYTES:
        raise WireError(f"the answer holds more than {index} arrays")
    arrays.append(array)
    return msgpack.ExtType(TENSOR_EXTENSION, index.to_bytes(2 if index > 255 else 1, "little"))


def _all_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
