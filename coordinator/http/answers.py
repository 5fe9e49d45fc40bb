"""An answer as bytes: JSON, or MessagePack for those who ask for it.

The one place that encodes what handlers return. Numbers are finite when they
come here: where answers are packed (`wire/answers.py`) others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from aiohttp import web

from coordinator.errors import DemitasseError
from coordinator.http.middleware import problem
from wire.tensor import Tensor

_JSON_HEADERS = {"Content-Type": "application/json"}
_MSGPACK_HEADERS = {"Content-Type": "application/msgpack"}
_LEAVES = frozenset({str, int, float, bool, type(None)})


def write_answer(
    request: web.Request, answer: Mapping[str, Any], *, status: int = 200
) -> web.Response:
    """The answer as JSON, or as MessagePack where the caller accepts that.

    Tensors and numpy arrays may stand anywhere in it: nested lists in JSON,
    `{"dtype", "shape", "data"}` in MessagePack. A `DemitasseError` becomes its
    problem document.
    """
    accept = request.headers.get("Accept")
    if accept is not None and "msgpack" in accept:
        body = _TO_MSGPACK(_without_tensors(answer, _as_binary))
        return web.Response(body=body, status=status, headers=_MSGPACK_HEADERS)
    body = _TO_JSON(_without_tensors(answer, _as_lists))
    return web.Response(body=body, status=status, headers=_JSON_HEADERS)


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


_TO_JSON = msgspec.json.Encoder(enc_hook=_json_hook).encode
_TO_MSGPACK = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook).encode
