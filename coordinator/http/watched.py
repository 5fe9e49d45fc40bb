"""aiohttp's side of a listener, with what it lacks: deadlines, limits, and refusals of ours.

aiohttp waits for ever for the rest of a head and for an answer to be read, and
answers what it cannot parse in plain text, under its own name, with a traceback
in the log. A `Watched` connection is aiohttp's own, looked at every so often by
the `Watch` that all of a listener share; what it needs to know of requests is
told by the middleware (`began`, `ended`). How long is too long: `pace`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aiohttp import hdrs, web
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
from coordinator.http.lookout import Lookout
from coordinator.http.pace import HeadWatch, Patience
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
        self.server.request_factory = partial(_with_path, self.server.request_factory)
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

    __slots__ = ("_address", "_head", "_inside", "_pipe", "_reading", "_watch", "received_bytes")

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
        self.received_bytes = 0
        """Ever, with what holds bodies together."""
        self._reading = Reading(patience, time.monotonic())

    # The middleware tells:

    def began(self) -> None:
        """The head of a request is complete, and somebody answers it."""
        self._head.ignore()

    def ended(self, answer_bytes: int, *, last: bool) -> None:
        """It is answered with so many bytes; the last is followed by no request."""
        self._reading.written += answer_bytes
        if not last and not self._messages:  # else what arrives is the body of one sent ahead
            self._head.expect()

    @property
    def is_to_leave(self) -> bool:
        """Whether the answer that is due is the last. What was sent already is answered."""
        more = self._messages or self._head.since is not None
        return self._watch.doors.closing and not more and not unseen_bytes(self._pipe)

    def close_if_idle(self) -> None:
        """Hangs up where nothing was asked that is not answered, nor has begun to arrive."""
        waiter = self._waiter  # aiohttp's, for the next request
        idle = waiter is not None and not waiter.done() and self._head.since is None
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
        if self._head.since is not None:
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
        elif self._head.since is not None and now - self._head.since > self._watch.patience.head:
            self.hang_up(errors.HeadTimeout())

    def hang_up(self, error: DemitasseError) -> None:
        """Says why, where no request is in progress, and closes."""
        self._head.ignore()
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
        if self._head.feed(data, time.monotonic()):
            super().data_received(data)
        else:
            self.hang_up(errors.HeadTooLarge())

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
        self._head.ignore()
        return response


def _with_path(make: Callable[..., web.BaseRequest], message: RawRequestMessage, *rest: Any) -> Any:
    """A request whose target has no path (`CONNECT x:443`, `GET http://x`) as one for "/".

    aiohttp's router looks at none of ours for it, and so answers for itself what `nowhere` is for.
    """
    if message.url.absolute and message.url.path_safe == "/":
        message = message._replace(url=_ROOT)
    return make(message, *rest)


def _not_http(exc: BaseException | None) -> DemitasseError:
    if isinstance(exc, LineTooLong):
        return errors.HeadTooLarge("a line of the head is longer than 8190 bytes")
    return errors.BadRequest("the head of the request is not HTTP/1.1 as RFC 9112 has it")
