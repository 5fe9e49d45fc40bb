"""The frame around every request that aiohttp serves: an id, and one way out for errors.

One middleware does both, because each costs every request. It decides nothing
about models: whatever is no `DemitasseError` and no aiohttp refusal is a fault
of ours, logged in full and shown to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from coordinator import errors
from coordinator.errors import DemitasseError
from coordinator.explanations import CANCELLED
from coordinator.http import replies
from coordinator.http.answers import respond
from coordinator.http.keys import ASKED, CAME, RECORDS, REFUSED, REQUEST_ID, Refused
from coordinator.http.replies import REQUEST_ID_HEADER, SERVER_NAME
from coordinator.http.watched import Watched
from coordinator.metrics import count_cancelled, count_request, received
from coordinator.records import Part, Record
from wire.quoting import quoted

_log = logging.getLogger(__name__)

_VERSIONS = (HttpVersion11, HttpVersion10)
_FROM_AIOHTTP: dict[int, type[DemitasseError]] = {
    404: errors.UnknownRoute,
    405: errors.MethodNotAllowed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    417: errors.UnsupportedExpectation,
}

#: What aiohttp raises where somebody reads from, or writes to, a connection that is closed.
_GONE = (ConnectionError, RuntimeError)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and whatever it raises the shape of a problem document."""
    connection = request.protocol
    if not isinstance(connection, Watched):
        raise TypeError("requests come over watched connections")
    connection.began()
    if request.version not in _VERSIONS:  # aiohttp would answer in the same
        refusal = errors.BadRequest("HTTP/1.1 and HTTP/1.0 are spoken here")
        connection.hang_up(refusal)
        request[REFUSED] = Refused.by(refusal)
        return web.Response(status=400)  # to nobody
    request_id = replies.request_id(request.headers.get(REQUEST_ID_HEADER))
    request[REQUEST_ID] = request_id
    try:
        _check_codings(request, connection)
        _check_expectation(request)
        response = await handler(request)
    except DemitasseError as error:
        response = _refusal(request, error, request_id)
    except web.HTTPException as exception:
        if exception.status < 400:
            raise
        response = _refusal(request, _from_aiohttp(exception), request_id)
        if hdrs.ALLOW in exception.headers:
            response.headers[hdrs.ALLOW] = exception.headers[hdrs.ALLOW]
    except Exception as error:
        if connection.has_left and isinstance(error, _GONE):
            raise asyncio.CancelledError from None
        path = request.rel_url.raw_path  # as it came: decoded, it could end the line
        _log.exception("request %s: %s %s failed", request_id, request.method, path)
        response = _refusal(request, errors.Internal(), request_id)
    if not response.prepared:
        response.headers[REQUEST_ID_HEADER] = request_id
        response.headers[hdrs.SERVER] = SERVER_NAME  # else aiohttp tells versions
    # What is still on its way could not be told from the next request.
    last = not request.content.is_eof() or connection.is_to_leave
    if last:
        response.force_close()
    connection.ended(response.content_length or 0, last=last)
    return response


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts every request by route, status and code, and has it recorded; stands around
    `problems`."""
    started = time.monotonic()
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    received(route)[0] += 1
    try:
        response = await handler(request)
    except asyncio.CancelledError:  # its caller left, or we were told to hang up
        count_cancelled(route, "waiting" if ASKED in request else "reading")
        _record(request, route, 0, CANCELLED, started)
        raise
    code = request[REFUSED].code if REFUSED in request else "ok"
    count_request(route, response.status, code, time.monotonic() - started)
    if CAME in request or REFUSED in request:  # else it was only looked at something
        _record(request, route, response.status, code, started, response)
    return response


def _record(
    request: web.Request,
    route: str,
    status: int,
    code: str,
    started: float,
    response: web.StreamResponse | None = None,
) -> None:
    came = request.get(CAME)
    part = came if isinstance(came, Part) else None
    photos = came if isinstance(came, list) else ()
    refused = request.get(REFUSED)
    body = response.body if isinstance(response, web.Response) and refused is not None else b""
    record = Record(
        request.get(REQUEST_ID, ""),
        route,
        request.match_info.get("name", ""),
        status,
        code,
        started,
        request.get(ASKED, 0.0),
        time.monotonic(),
        part,
        photos,
        body if isinstance(body, bytes) else b"",
        None if refused is None else refused.reckoning,
        0.0 if refused is None else refused.decode_seconds,
    )
    request.app[RECORDS].add(record)


def _check_codings(request: web.Request, connection: Watched) -> None:
    """aiohttp would read what is in other codings and in chunks as if it were only in chunks.

    RFC 9112, 6.1: of HTTP/1.0, a body in chunks is a fault; such connections are closed.
    """
    if hdrs.TRANSFER_ENCODING not in request.headers:
        return
    codings = ", ".join(request.headers.getall(hdrs.TRANSFER_ENCODING))
    if codings.strip().lower() != "chunked":
        connection.distrust()
        raise errors.UnsupportedContentEncoding(
            f"Transfer-Encoding {quoted(codings)} is not accepted; chunked alone is",
            field="Transfer-Encoding",
            members={"accepted": ["chunked"]},
        )
    if request.version == HttpVersion10:
        connection.distrust()
        raise errors.BadRequest("HTTP/1.0 has no Transfer-Encoding", field="Transfer-Encoding")


def _check_expectation(request: web.Request) -> None:
    if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
        raise errors.UnsupportedExpectation(field="Expect")


def _refusal(request: web.Request, error: DemitasseError, request_id: str) -> web.StreamResponse:
    request[REFUSED] = Refused.by(error)
    response = respond(replies.refusal(error, request_id))
    if isinstance(error, errors.Unauthenticated):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


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
