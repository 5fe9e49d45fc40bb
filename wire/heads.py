"""What all messages are made of: kinds, heads that are checked field by field, tensors by shape.

A head is a small msgpack map. Whatever is missing in one, or of the wrong type,
is a WireError that names the field. Used by all rooms that have messages, which
say what the fields mean.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import msgpack

from wire.errors import WireError
from wire.frames import Frame
from wire.tensor import Buffer

_INFINITY = float("inf")


class Kind:
    """The frame kinds: 1 to 31 travel on links, 32 and up between host and worker."""

    HELLO = 1
    READY = 2
    PREDICT = 3
    RESULT = 4
    FAILURE = 5
    REFUSAL = 6
    CANCEL = 7
    STATUS = 8
    DRAIN = 9
    TUNE = 10
    TUNED = 11
    HEARTBEAT = 12
    LOAD = 32
    LOADED = 33
    RUN = 34
    BATCH_RESULT = 35
    BATCH_FAILURE = 36


def pack(head: Any) -> bytes:
    return msgpack.packb(head)  # type: ignore[no-any-return]


def unpack(frame: Frame) -> Dict[str, Any]:
    """The map that is a frame's head."""
    return unpack_map(frame.head)


def unpack_map(packed: Buffer) -> Dict[str, Any]:
    head = _unpack(packed)
    if not isinstance(head, dict):
        raise WireError("the head is not a map")
    return head


def unpack_list(packed: Buffer) -> List[Any]:
    items = _unpack(packed)
    if not isinstance(items, list):
        raise WireError("the end of the head is not a list")
    return items


def _unpack(packed: Buffer) -> Any:
    try:
        return msgpack.unpackb(packed, max_ext_len=0)
    except Exception as error:  # msgpack raises half a dozen kinds, RecursionError among them
        raise WireError(f"the head is not msgpack: {type(error).__name__}") from error


def text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str):
        raise WireError(f"{key} is not a string")
    return value


def count(head: Mapping[str, Any], key: str) -> int:
    value = head.get(key)
    if type(value) is not int or value < 0:
        raise WireError(f"{key} is not a count")
    return value


def positive(head: Mapping[str, Any], key: str) -> int:
    value = count(head, key)
    if not value:
        raise WireError(f"{key} is 0, at least 1 is needed")
    return value


def seconds(head: Mapping[str, Any], key: str) -> float:
    value = head.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _INFINITY:
        raise WireError(f"{key} is not a number of seconds")
    return float(value)


def flag(head: Mapping[str, Any], key: str) -> bool:
    value = head.get(key)
    if not isinstance(value, bool):
        raise WireError(f"{key} is not true or false")
    return value


def listed(head: Mapping[str, Any], key: str) -> List[Any]:
    value = head.get(key)
    if not isinstance(value, list):
        raise WireError(f"{key} is not a list")
    return value


def mapped(head: Mapping[str, Any], key: str) -> Dict[Any, Any]:
    value = head.get(key)
    if not isinstance(value, dict):
        raise WireError(f"{key} is not a map")
    return value


def pair(item: Any) -> Tuple[str, Tuple[int, ...]]:
    if isinstance(item, list) and len(item) == 2:
        dtype, shape = item
        if isinstance(dtype, str) and isinstance(shape, list) and all(map(is_int, shape)):
            return dtype, tuple(shape)
    raise WireError("a tensor is not [dtype, shape]")


def is_int(value: Any) -> bool:
    return type(value) is int
