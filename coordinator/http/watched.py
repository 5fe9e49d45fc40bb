"""aiohttp's side of a listener, with what it lacks: deadlines, limits, and refusals of ours.

aiohttp waits for ever for the rest of a head and for an answer to be read, and
answers what it cannot parse in plain text, under its own name, with a traceback
in the log. A `Watched` connection is aiohttp's own, looked at every so often by
the `Watch` that all of a listener share; what it needs to know of requests is
told by the middleware (`began`, `ended`). How long is too long: `pace`.

aiohttp's parser is given one request at a time, and the next when that is answered.
Given several at once, of which one is broken, it would tell of none of them; and half a
head within it has no deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from yarl import URL

from coordinator import errors
from coordinator.errors import DemitasseError
from coordinator.http import replies
from coordinator.http.answers import respond
from coordinator.http.complaints import UNREAD, Complaints
from coordinator.http.doors import Doors
from coordinator.http.ending import out_of_time
from coordinator.http.framing import BodyWatch, HeadWatch
from coordinator.http.lookout import Lookout
from coordinator.http.pace import Patience
from coordinator.http.plain import stamp, written
from coordinator.http.reading import Reading, reset, unseen_bytes, unsent
from coordinator.http.replies import REQUEST_ID_HEADER, SERVER_NAME
from coordinator.metrics import count_unasked

#: What aiohttp's server has to be told: its parser would otherwise undo a Content-Encoding before
#: anybody was admitted, and pass unknown ones through as they came. A browser sends some 20 fields.
PROTOCOL_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "max_headers": 100,
}

#: What a caller may send ahead of an answer; then its socket is left alone.
_AHEAD_BYTES = 64 * 1024

_ROOT = URL("/")


class Watch:
    """What the connections of one listener that aiohttp serves share."""

    def __init__(self, runner: web.AppRunner, patience: Patience, doors: Doors) -> None:
        """
        Args:
            runner: has been set up; closed with this.
        """
        if runner.server is None:
            raise ValueError("this runner has not been set up")
        self.server = runner.server
        self.server.request_factory = partial(_made, self.server.request_factory)
        self._runner = runner
        self.patience = patience
        self.doors = doors
        self.complaints = Complaints()
        self._lookout: Lookout[Watched] = Lookout(patience.look_seconds, self._refresh)
        self.connections = self._lookout.connections

    def protocol(self) -> Watched:
        """Of one more connection."""
        return Watched(self)

    def _refresh(self) -> None:
        self.stamp = stamp()

    async def close(self) -> None:
        """Hangs up on whoever is left."""
        await self._runner.cleanup()
        self._lookout.stop()


class Watched(web.RequestHandler):
    """One connection."""

    __slots__ = (
        "_address",
        "_ahead",
        "_answered",
        "_body",
        "_broken",
        "_content",
        "_head",
        "_held",
        "_inside",
        "_pipe",
        "_reading",
        "_watch",
        "received_bytes",
    )

    def __init__(self, watch: Watch) -> None:
        patience = watch.patience
        super().__init__(
            watch.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=patience.keepalive,
            lingering_time=patience.lingering,
            **PROTOCOL_OPTIONS,
        )
        self._watch = watch
        self._inside = False  # counted at the doors
        self._head = HeadWatch()
        self._body: BodyWatch | None = None  # that follows the head
        self._content: StreamReader | None = None  # the same, for whoever answers
        self._answered = False  # whoever that was has done so
        self._broken = False  # nothing more is read: nobody could tell what it is
        self._held = False  # a request has arrived to its end and is not answered
        self._ahead = b""  # what came behind it
        self.received_bytes = 0
        """Ever, with what holds bodies together."""
        self._reading = Reading(patience, time.monotonic())

    # The middleware tells:

    def began(self) -> None:
        """The head of a request is complete, and somebody answers it."""
        self._head.taken()

    def distrust(self) -> None:
        """Where the request in progress ends may be read differently by others."""
        self._broken = True

    def ended(self, answer_bytes: int, *, last: bool) -> None:
        """It is answered with so many bytes; the last is followed by no request."""
        self._reading.written += answer_bytes
        self._answered = True
        if last:
            return
        self._content = None
        self._head.expect()
        self._body = None
        self._held = bool(self._ahead)
        if self._held:  # not before this answer is on its way
            asyncio.get_running_loop().call_soon(self._go_on)

    @property
    def has_left(self) -> bool:
        """Whether nobody will read an answer: its caller hung up, or was hung up on."""
        return self._pipe.is_closing()

    @property
    def is_to_leave(self) -> bool:
        """Whether the answer that is due is the last. What was sent already is answered."""
        if self._broken or (self._body is not None and self._body.lost):
            return True
        return self._watch.doors.closing and not self._has_more and not unseen_bytes(self._pipe)

    @property
    def _has_more(self) -> bool:
        """Whether something has begun to arrive that nobody answers yet."""
        return bool(self._ahead) or self._head.since is not None

    def close_if_idle(self) -> None:
        """Hangs up where nothing was asked that is not answered, nor has begun to arrive."""
        waiter = self._waiter  # aiohttp's, for the next request
        idle = waiter is not None and not waiter.done() and not self._has_more
        if idle and not unseen_bytes(self._pipe):
            self.force_close()

    def give_up(self) -> bool:
        """Says that there is no more time, and hangs up; whether a request was in progress, or
        an answer on its way."""
        unread = unsent(self._pipe)
        if self._current_request is not None:  # it is counted where it ends
            self._say_last(out_of_time())
            self.force_close()
            return True
        if self._has_more:
            self.hang_up(out_of_time())
        else:
            self._pipe.close()
        return unread

    def abort(self) -> None:
        """Hangs up, whatever was written."""
        self._pipe.abort()

    def look(self, now: float) -> None:
        """Hangs up on a caller who makes others wait for longer than is granted."""
        if not self._reading.kept(self._pipe, now):
            self._watch.complaints.note(self._address, UNREAD, "")
            reset(self._pipe)
        elif self._request_in_progress:  # what came behind it can wait
            self._head.wait(now)
        elif self._head.since is not None and now - self._head.since > self._watch.patience.head:
            self.hang_up(errors.Internal() if self._head.complete else errors.HeadTimeout())

    def hang_up(self, error: DemitasseError) -> None:
        """Says why, where no request is in progress, and closes."""
        self._head.taken()
        if not self._pipe.is_closing():
            count_unasked(self._say_last(error), error.code)
            self._watch.complaints.note(self._address, error.detail, "")
        self.force_close()

    def _say_last(self, error: DemitasseError) -> int:
        """Writes why, where that can be; the status."""
        id = replies.request_id(None)
        reply = replies.refusal(error, id)
        if not self._pipe.is_closing():
            self._pipe.write(written(reply, id, self._watch.stamp, last=True))
        return reply.status

    # The event loop, and aiohttp, call these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""  # of a caller who has left already
        super().connection_made(transport)
        self._watch.connections.add(self)
        refusal = self._watch.doors.enter(self._address)
        self._inside = refusal is None
        if refusal is not None:
            self.hang_up(refusal)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._watch.connections.discard(self)
        if self._inside:
            self._inside = False
            self._watch.doors.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if not data:  # aiohttp goes on with what its parser kept of a body
            self._parse(data)
        elif self._held:
            self._ahead += data
            if len(self._ahead) > _AHEAD_BYTES and not self._buffer_paused:
                self._pause_reading_for_buffer()
        else:
            self._take(data)

    def _resume_reading_if_drained(self) -> None:
        if len(self._ahead) <= _AHEAD_BYTES:
            super()._resume_reading_if_drained()

    def _go_on(self) -> None:
        """The request before is answered: with what was sent ahead of that."""
        ahead, self._ahead, self._held = self._ahead, b"", False
        self._take(ahead)
        if self._buffer_paused:
            self._resume_reading_if_drained()

    def _take(self, data: bytes) -> None:
        """Parses as much of this as belongs to one request, and keeps the rest."""
        while data and not self._held and not self._pipe.is_closing():
            size = self._take_head(data) if self._body is None else self._take_body(data)
            data = data[size:]
        self._ahead = data

    def _take_head(self, data: bytes) -> int:
        size = self._head.feed(data, time.monotonic())
        if self._head.too_long:
            self.hang_up(errors.HeadTooLarge())
            return size
        self._parse(data[:size])
        if self._messages:
            message, payload = self._messages[-1]
            if payload.is_eof() or not isinstance(message, RawRequestMessage):
                self._held = True
            else:
                length = int(message.headers.get(hdrs.CONTENT_LENGTH, 0))
                self._body = BodyWatch(None if message.chunked else length)
                self._content, self._answered = payload, False
        return size

    def _take_body(self, data: bytes) -> int:
        assert self._body is not None
        size = self._body.feed(data)
        self._held = self._body.complete
        self._parse(data[:size])
        return size

    def _parse(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:  # what is no HTTP is none: aiohttp has that answered
            self.log_exception("a request could not be parsed")
            self.hang_up(errors.Internal())
        if self._body is not None and self._messages:
            self._check_body(self._messages[-1][0])

    def _check_body(self, last: object) -> None:
        """aiohttp would answer what is broken in a body as one more request, after this one's
        handler has waited for the rest in vain."""
        if isinstance(last, RawRequestMessage):
            return
        self._messages.pop()
        self._held = self._broken = True
        assert self._content is not None
        if not self._answered:  # else aiohttp throws the rest away, and then closes
            self._content.set_exception(web.RequestPayloadError("it is broken"))
        self._content.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What cannot be parsed as HTTP, or a fault below the middleware, as a problem."""
        if status >= 500:
            self.log_exception("a request failed outside its handler", exc_info=exc)
            error: DemitasseError = errors.Internal()
        else:
            error = _not_http(exc)
            self._watch.complaints.note(self._address, error.detail, message or "")
        if request.writer.output_size:
            raise ConnectionError("an answer was begun already")
        id = replies.request_id(None)
        reply = replies.refusal(error, id)
        count_unasked(reply.status, error.code)
        response = respond(reply)
        response.headers.update({REQUEST_ID_HEADER: id, hdrs.SERVER: SERVER_NAME})
        response.force_close()
        self._head.taken()
        return response


def _made(
    make: Callable[..., web.BaseRequest],
    message: RawRequestMessage,
    payload: Any,
    connection: Watched,
    *rest: Any,
) -> web.BaseRequest:
    """A request, or an end of the connection: aiohttp has no answer where there can be none.

    One whose target has no path (`CONNECT x:443`, `GET http://x`) is one for "/": aiohttp's
    router looks at none of ours for it, and so answers for itself what `nowhere` is for.
    """
    error: DemitasseError = errors.BadRequest("the request has no target")
    try:
        if message.path:  # else it has no URL either
            if message.url.absolute:
                _ = message.url.host  # decoded
                if message.url.path_safe == "/":
                    message = message._replace(url=_ROOT)
            return make(message, payload, connection, *rest)
    except UnicodeError:
        error = errors.BadRequest("the host in the target of the request is no name")
    except Exception:
        connection.log_exception("a request could not be made")
        error = errors.Internal()
    connection.hang_up(error)
    raise asyncio.CancelledError  # of aiohttp's task, which has nothing left to do


def _not_http(exc: BaseException | None) -> DemitasseError:
    if isinstance(exc, LineTooLong):
        return errors.HeadTooLarge("a line of the head is longer than 8190 bytes")
    return errors.BadRequest("the head of the request is not HTTP/1.1 as RFC 9112 has it")
