"""The frame around every request: it gets an id, and every error leaves through here.

One middleware does both, because each costs every request. Here is the only
table of status numbers, and the only writer of `application/problem+json`
(RFC 9457). It decides nothing about models: whatever is no `DemitasseError`
and no aiohttp refusal is a fault of ours, logged in full and shown to nobody.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from typing import Any

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from coordinator import errors
from coordinator.errors import DemitasseError
from coordinator.http.keys import ERROR_CODE, REQUEST_ID
from coordinator.metrics import count_request

_log = logging.getLogger(__name__)

#: Error class -> status. A class that is not listed has the status of its parent.
STATUS: dict[type[DemitasseError], int] = {
    DemitasseError: 500,
    errors.CallerError: 400,
    errors.ForeignOrigin: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTimeout: 408,
    errors.Conflict: 409,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.UnsupportedContentEncoding: 415,
    errors.UnsupportedExpectation: 417,
    errors.MisdirectedRequest: 421,
    errors.InvalidInput: 422,
    errors.QueueFull: 429,
    errors.Overloaded: 503,
    errors.ModelFailure: 502,
    errors.PredictTimeout: 504,
    errors.DeadlineExceeded: 504,
    errors.Internal: 500,
}

#: Seconds, where whoever refused could not say when there will be room.
DEFAULT_RETRY_AFTER = 1.0
X_REQUEST_ID = "X-Request-Id"
SERVER_NAME = "demitasse"
PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:demitasse:error:"

#: What is taken over from a caller or a proxy; anything else is replaced, since it ends up in logs.
_SANE_ID = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")
_FROM_AIOHTTP: dict[int, type[DemitasseError]] = {
    404: errors.UnknownRoute,
    405: errors.MethodNotAllowed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    417: errors.UnsupportedExpectation,
}
_encode = msgspec.json.Encoder().encode


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


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and whatever it raises the shape of a problem document."""
    request_id = request.headers.get(X_REQUEST_ID)
    if request_id is None or not _SANE_ID.fullmatch(request_id):
        request_id = os.urandom(12).hex()
    request[REQUEST_ID] = request_id
    try:
        response = await handler(request)
    except DemitasseError as error:
        response = _refusal(request, error, request_id)
    except web.HTTPException as exception:
        if exception.status < 400:
            raise
        response = _refusal(request, _from_aiohttp(exception), request_id)
        if hdrs.ALLOW in exception.headers:
            response.headers[hdrs.ALLOW] = exception.headers[hdrs.ALLOW]
    except Exception:
        path = request.rel_url.raw_path  # as it came: decoded, it could end the line
        _log.exception("request %s: %s %s failed", request_id, request.method, path)
        response = _refusal(request, errors.Internal(), request_id)
    if not response.prepared:
        response.headers[X_REQUEST_ID] = request_id
        response.headers[hdrs.SERVER] = SERVER_NAME  # else aiohttp tells versions
    return response


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts every request by route, status and code; stands around `problems`."""
    started = time.monotonic()
    response = await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    code = request.get(ERROR_CODE, "ok")
    count_request(route, response.status, code, time.monotonic() - started)
    return response


def _refusal(request: web.Request, error: DemitasseError, request_id: str) -> web.StreamResponse:
    request[ERROR_CODE] = error.code
    response = web.Response(
        status=status_of(error),
        body=_encode(problem(error, request_id)),
        content_type=PROBLEM_JSON,
    )
    wait = _retry_after(error)
    if wait is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(wait)))
    if not request.content.is_eof():
        # Part of the body is still on its way: the next request on this
        # connection could not be told from it.
        response.force_close()
    return response


def _retry_after(error: DemitasseError) -> float | None:
    if error.retry_after is None and isinstance(error, errors.Overloaded):
        return DEFAULT_RETRY_AFTER
    return error.retry_after


def _from_aiohttp(exception: web.HTTPException) -> DemitasseError:
    if isinstance(exception, web.HTTPMethodNotAllowed):
        allowed = sorted(exception.allowed_methods)
        return errors.MethodNotAllowed(
            f"{exception.method} is not answered here; use {', '.join(allowed)}",
            members={"allowed": allowed},
        )
    kind = _FROM_AIOHTTP.get(exception.status)
    if kind is None:
        kind = errors.BadRequest if exception.status < 500 else errors.Internal
    return kind()
