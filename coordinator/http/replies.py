"""What goes back to a caller, as a value: status, headers, bytes.

Here are the only table of status numbers and the only writer of
`application/problem+json` (RFC 9457); answers become JSON, or MessagePack for
those who ask for it. Knows no server: `middleware` and `connection` each put
replies on the wire that they have. Numbers are finite when they come here:
where answers are packed (`wire/answers.py`) others are refused.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from coordinator import errors
from coordinator.errors import DemitasseError
from coordinator.http.accept import prefers_msgpack
from coordinator.http.media_types import JSON, MSGPACK, PROBLEM_JSON
from wire.tensor import Tensor

#: Error class -> status. A class that is not listed has the status of its parent.
STATUS: dict[type[DemitasseError], int] = {
    DemitasseError: 500,
    errors.CallerError: 400,
    errors.Unauthenticated: 401,
    errors.ForeignOrigin: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.HeadTimeout: 408,
    errors.BodyTimeout: 408,
    errors.Conflict: 409,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.UnsupportedContentEncoding: 415,
    errors.UnsupportedExpectation: 417,
    errors.MisdirectedRequest: 421,
    errors.InvalidInput: 422,
    errors.QueueFull: 429,
    errors.HeadTooLarge: 431,
    errors.DeadlineUnmeetable: 504,
    errors.Overloaded: 503,
    errors.ModelFailure: 422,
    errors.DeadlineExceeded: 504,
    errors.Internal: 500,
}

#: Seconds, where whoever refused could not say when there will be room.
DEFAULT_RETRY_AFTER = 1.0
REQUEST_ID_HEADER = "X-Request-Id"
SERVER_NAME = "demitasse"
TYPE_PREFIX = "urn:demitasse:error:"

#: What is taken over from a caller or a proxy; anything else is replaced, since it ends up in logs.
_SANE_ID = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")
#: A new id is this process's own, and then a number: random bytes cost a system call each.
_OURS = os.urandom(8).hex()
_numbers = itertools.count()
_LEAVES = frozenset({str, int, float, bool, type(None)})


class Reply(msgspec.Struct, frozen=True):
    """All that a server needs to answer one request."""

    status: int
    content_type: str
    body: bytes
    retry_after: int | None = None
    """Whole seconds, for the header."""


def request_id(given: str | None) -> str:
    """The id that a request goes by: the caller's own where it is a sane one."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given
    return f"{_OURS}{next(_numbers):08x}"


def answer(document: Mapping[str, Any], accept: str | None, *, tensors: bool = True) -> Reply:
    """An answer as JSON, or as MessagePack where the caller accepts that.

    Tensors and numpy arrays may stand anywhere in it: nested lists in JSON,
    `{"dtype", "shape", "data"}` in MessagePack. A `DemitasseError` becomes its
    problem document.

    Args:
        accept: the header of that name; of several the values, with commas between.
        tensors: whether there may be any; without, they need not be looked for.
    """
    if accept is not None and prefers_msgpack(accept):
        plain = _without_tensors(document, _as_binary) if tensors else document
        return Reply(200, MSGPACK, _to_msgpack(plain))
    plain = _without_tensors(document, _as_lists) if tensors else document
    return Reply(200, JSON, _to_json(plain))


def refusal(error: DemitasseError, request_id: str) -> Reply:
    """An error as its problem document."""
    wait = _retry_after(error)
    return Reply(
        status_of(error),
        PROBLEM_JSON,
        _to_json(problem(error, request_id)),
        None if wait is None else max(1, math.ceil(wait)),
    )


def status_of(error: DemitasseError) -> int:
    """The status of an error: its own class's, else that of the nearest parent in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: DemitasseError, request_id: str | None = None) -> dict[str, Any]:
    """The problem document of an error.

    Args:
        request_id: left out where the document is part of an answer that has one already.
    """
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": status_of(error),
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
    }
    if request_id is not None:
        document["request_id"] = request_id
    if error.field is not None:
        document["field"] = error.field
    wait = _retry_after(error)
    if wait is not None:
        document["retry_after"] = wait
    document.update(error.members)
    return document


def _retry_after(error: DemitasseError) -> float | None:
    if error.retry_after is None and isinstance(error, errors.Overloaded):
        return DEFAULT_RETRY_AFTER
    return error.retry_after


def _without_tensors(value: Any, convert: Callable[[Tensor], Any]) -> Any:
    """The same with every `Tensor` converted: to msgspec it would be a tuple of three."""
    kind = type(value)
    if kind is dict:
        return {
            key: item if type(item) in _LEAVES else _without_tensors(item, convert)
            for key, item in value.items()
        }
    if kind is list:
        return [
            item if type(item) in _LEAVES else _without_tensors(item, convert) for item in value
        ]
    return convert(value) if kind is Tensor else value


def _as_lists(tensor: Tensor) -> Any:
    return tensor.array().tolist()


def _as_binary(tensor: Tensor) -> dict[str, Any]:
    return tensor._asdict()


def _json_hook(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return _hook(value)


def _msgpack_hook(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _as_binary(Tensor.from_array(value))
    if isinstance(value, np.generic):
        return value.item()
    return _hook(value)


def _hook(value: Any) -> Any:
    if isinstance(value, DemitasseError):
        return problem(value)
    raise TypeError(f"{type(value).__name__} is no part of an answer")


_to_json = msgspec.json.Encoder(enc_hook=_json_hook).encode
_to_msgpack = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook).encode
