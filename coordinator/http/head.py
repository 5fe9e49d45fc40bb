"""What a request's line and head ask for: which models, how much each matters, how long, for whom.

Read before anything is admitted and long before the body. Knows the form of a
model reference from `router`, and nothing of what there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web

from coordinator.errors import InvalidParameter
from coordinator.router import ModelRef, parse_ref
from wire.flows import (
    CALLER_HEADER,
    CLASS_HEADER,
    Flow,
    InvalidFlow,
    caller_number,
    checked_caller,
    rank_of,
)
from wire.quoting import quoted

TIMEOUT_HEADER = "Demitasse-Timeout"


class Timeouts(NamedTuple):
    """Seconds that a request gets where it does not say, and at most."""

    default: float
    maximum: float


class Callers:
    """Tells for whom a request is, and what share of the devices that caller has."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """
        Args:
            weights: by caller; everybody else's is 1.
        """
        self._weights = weights
        self.flow = lru_cache(4096)(self._flow)

    def of(self, request: web.Request) -> Flow:
        """As `flow`, of aiohttp's request."""
        headers = request.headers
        return self.flow(
            headers.get(CLASS_HEADER), headers.get(CALLER_HEADER), request.remote or ""
        )

    def _flow(self, urgency: str | None, caller: str | None, address: str) -> Flow:
        """The flow of a request. Those seen lately are remembered.

        Args:
            urgency: the class's header, where there is one.
            caller: the caller's, likewise. It is believed.
            address: whom it comes from, without the port.

        Raises:
            InvalidParameter: naming the header.
        """
        try:
            rank = 0 if urgency is None else rank_of(urgency)
            name = address if caller is None else checked_caller(caller)
        except InvalidFlow as error:
            raise InvalidParameter(str(error), field=error.field) from error
        return Flow(rank, caller_number(name), self._weights.get(name, 1.0))


class Wanted(NamedTuple):
    """What the head of a request for `/analyze` asks for."""

    models: tuple[ModelRef, ...]
    """Empty: the models that are marked for `/analyze`."""
    require: tuple[str, ...]
    """Names of models without whose answer the whole request fails."""
    optional: tuple[str, ...]
    """Names of models that are not waited for once all the others have answered."""
    timeout: float


def path_ref(request: web.Request) -> ModelRef:
    """The model that the path names, and its version where there is one."""
    return ModelRef(request.match_info["name"], request.match_info.get("version"))


def wanted_refs(request: web.Request, timeouts: Timeouts) -> Wanted:
    """Models, which of them are required or optional, and timeout, from the query and the head.

    Raises:
        InvalidParameter: naming the parameter.
    """
    query = request.query
    models = tuple(parse_ref(text) for text in _listed(query.getall("models", ())))
    require = tuple(_listed(query.getall("require", ())))
    optional = tuple(_listed(query.getall("optional", ())))
    _refuse_unknown(request, "models", "require", "optional", "timeout")
    return Wanted(models, require, optional, read_timeout(request, timeouts))


def only_timeout(request: web.Request, timeouts: Timeouts) -> float:
    """As `read_timeout`, of a route that has no other parameter.

    Raises:
        InvalidParameter: as there, or another parameter: a version that was meant
            to be pinned, and is not, would go unnoticed.
    """
    if request.query_string:
        _refuse_unknown(request, "timeout")
    return read_timeout(request, timeouts)


def read_timeout(request: web.Request, timeouts: Timeouts) -> float:
    """Seconds from `timeout` in the query, else from the header, else the default.

    Raises:
        InvalidParameter: not a number above zero, or above the maximum.
    """
    text = request.query.get("timeout") if request.query_string else None
    if text is not None:
        return _checked_seconds(text, "timeout", timeouts)
    return header_timeout(request.headers.get(TIMEOUT_HEADER), timeouts)


def header_timeout(text: str | None, timeouts: Timeouts) -> float:
    """As `read_timeout`, of a request without a query.

    Args:
        text: the header, where there is one.
    """
    return timeouts.default if text is None else _checked_seconds(text, TIMEOUT_HEADER, timeouts)


def _checked_seconds(text: str, field: str, timeouts: Timeouts) -> float:
    """The number of seconds that a caller wrote into this field.

    Raises:
        InvalidParameter: as `read_timeout`.
    """
    seconds = _seconds(text)
    if not 0 < seconds <= timeouts.maximum:
        raise InvalidParameter(
            f"{quoted(text)} is not a number of seconds above 0 and up to {timeouts.maximum:g}",
            field=field,
        )
    return seconds


def _refuse_unknown(request: web.Request, *accepted: str) -> None:
    for unknown in request.query.keys() - set(accepted):
        raise InvalidParameter(
            f"there is no parameter {quoted(unknown)} here; there is {', '.join(accepted)}",
            field=unknown,
        )


def _listed(values: Sequence[str]) -> dict[str, None]:
    """Comma-separated values of one or several parameters, each once, in order."""
    return dict.fromkeys(item.strip() for value in values for item in value.split(","))


def _seconds(text: str) -> float:
    if "_" in text or not text.isascii():  # float() takes 1_000 and Arabic digits
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan
