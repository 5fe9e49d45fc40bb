"""One caller's connection, as long as it is on the express lane.

Every connection of the public port begins here. Bytes arrive and are waited for, and
replies leave; what is asked and answered is for its `exchange`, without a task, a
future or a request object. The first request that `plain` does not recognise takes
its connection over to aiohttp for good, with every byte that has arrived. Both roads
share all that decides (router, fleet, payloads, replies) and answer alike. A large
body is received straight into memory of its own size.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

from coordinator.errors import BodyTimeout, DemitasseError, HeadTimeout
from coordinator.http import plain, replies
from coordinator.http.complaints import UNREAD
from coordinator.http.ending import out_of_time
from coordinator.http.exchange import Exchange
from coordinator.http.express import Express
from coordinator.http.pace import Pace
from coordinator.http.plain import written
from coordinator.http.reading import Reading, reset, unseen_bytes, unsent
from coordinator.http.replies import Reply
from coordinator.metrics import count_unasked

#: The rest of a refused body, up to here, is read and thrown away, and the connection kept.
_SWALLOW_BYTES = 1024 * 1024
#: What a caller may send ahead of an answer; then its socket is left alone.
_AHEAD_BYTES = 64 * 1024


class Connection(asyncio.BufferedProtocol):
    """One caller's connection: idle, reading a body, or waiting for an answer."""

    __slots__ = (
        "_address",
        "_ahead",
        "_body",
        "_exchange",
        "_express",
        "_filled",
        "_heard",
        "_inside",
        "_last",
        "_lingers_until",
        "_pace",
        "_paused",
        "_reading",
        "_stuck",
        "_swallow",
        "_transport",
    )

    def __init__(self, express: Express) -> None:
        self._express = express
        self._transport: asyncio.Transport | None = None
        self._address = ""  # of the caller
        self._ahead = b""  # arrived, and not looked at yet
        self._exchange = Exchange(express, self._send)
        self._body: memoryview | None = None  # of which so much has arrived:
        self._filled = 0
        self._swallow = 0  # bytes of a refused body that are still to come
        self._paused = False  # reading: too much came ahead
        self._stuck = False  # writing: the caller reads nothing
        self._last = False  # it was answered that nothing more will be,
        self._lingers_until: float  # and so long the caller has to read that
        self._inside = False  # counted at the doors
        self._heard = now = time.monotonic()
        patience = express.patience
        self._pace = Pace(patience.least_per_second, patience.body_idle, now)
        self._reading = Reading(patience, now)

    def close(self) -> None:
        """Hangs up, once what was written has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hangs up, whatever was written."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Hangs up where nothing was asked that is not answered, nor has begun to arrive."""
        transport = self._transport
        if transport is None or self._exchange.head is not None or self._ahead or self._swallow:
            return
        if not unseen_bytes(transport):
            transport.close()

    def give_up(self) -> bool:
        """Says that there is no more time, and hangs up; whether a request was in progress, or
        an answer on its way."""
        unread = self._transport is not None and unsent(self._transport)
        if self._exchange.head is not None:
            self._exchange.refuse(out_of_time(), last=True)
            return True
        if self._ahead and not self._last:
            self._turn_away(out_of_time())
        self.close()
        return unread

    def look(self, now: float) -> None:
        """Hangs up on a caller who makes others wait for longer than is granted."""
        patience, transport = self._express.patience, self._transport
        if transport is None:
            return
        if not self._reading.kept(transport, now):
            self._express.complaints.note(self._address, UNREAD, "")
            reset(transport)
            return
        silent = now - self._heard
        if self._last:
            if now > self._lingers_until:
                self.close()
        elif self._swallow:
            kept = self._pace.kept(now, -self._swallow, self._swallow)
            took = now - self._exchange.started
            if not kept or silent > patience.body_idle or took > patience.body:
                self.close()
        elif self._exchange.head is None:
            self._look_between_requests(now, silent)
        elif self._awaits_body:
            why = self._too_slow(now) or self._too_slowly(now, silent)
            if why:
                self._give_up(why)

    def _look_between_requests(self, now: float, silent: float) -> None:
        patience = self._express.patience
        if self._reading.unread:  # it has the last answer to read before it can wait for another
            self._heard = now
        elif self._ahead:
            if silent > patience.head:
                self._turn_away(HeadTimeout())
        elif silent > patience.keepalive:
            self.close()

    @property
    def _awaits_body(self) -> bool:
        return self._body is not None and self._filled < len(self._body)

    @property
    def _missing(self) -> int:
        return 0 if self._body is None else len(self._body) - self._filled

    def _too_slow(self, now: float) -> str:
        """Why a body that goes on arriving now does so too late; nothing where it does not."""
        if now > self._exchange.deadline:
            return "the body took longer to arrive than the request may take"
        if now - self._exchange.started > self._express.patience.body:
            return f"the body took longer than {self._express.patience.body:g} s to arrive"
        return ""

    def _too_slowly(self, now: float, silent: float) -> str:
        """Why a body that is still to come is not waited for; nothing where it is."""
        patience = self._express.patience
        if silent > patience.body_idle:
            return f"nothing of the body arrived for {patience.body_idle:g} s"
        if not self._pace.kept(now, self._filled, self._missing):
            return f"fewer than {patience.least_per_second:g} bytes/s arrived"
        return ""

    def _give_up(self, why: str) -> None:
        self._exchange.refuse(BodyTimeout(why), last=True)

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        if peer:  # not of a caller who has left already
            self._address = peer[0]
        refusal = self._express.doors.enter(self._address)
        self._inside = refusal is None
        self._express.outside += refusal is not None
        self._express.connections.add(self)
        if refusal is not None:
            self._turn_away(refusal) if self._express.has_time_to_refuse else self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._transport = None
        self._exchange.close()
        self._body = None

    def _leave(self) -> None:
        self._express.left(self)
        if self._inside:
            self._express.doors.leave(self._address)
        else:
            self._express.outside -= 1

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        body = self._body
        if body is not None and self._filled < len(body):
            return body[self._filled :]
        return self._express.scratch

    def buffer_updated(self, nbytes: int) -> None:
        body = self._body
        if body is not None and self._filled < len(body):
            self._heard = time.monotonic()
            self._filled += nbytes
            if self._filled == len(body):
                too_slow = self._too_slow(self._heard)
                self._exchange.asked = self._heard
                self._give_up(too_slow) if too_slow else self._exchange.ask(body)
            return
        swallowed = min(nbytes, self._swallow) if self._swallow else 0
        if swallowed or not self._ahead:  # a head has so much time from its first byte
            self._heard = time.monotonic()
        self._swallow -= swallowed
        if self._last:  # whatever follows is answered to nobody
            if not self._swallow:
                self.close()
        elif swallowed < nbytes:
            self._ahead += self._express.scratch[swallowed:nbytes]
            self._advance()

    def _advance(self) -> None:
        """Goes on with what has arrived, as far as that reaches."""
        if self._transport is None or self._transport.is_closing():
            return
        exchange = self._exchange
        while self._ahead and exchange.head is None and not self._stuck and not self._last:
            if not self._begin():
                break
        too_much, transport = len(self._ahead) > _AHEAD_BYTES, self._transport
        if too_much != self._paused and transport is not None and not transport.is_closing():
            self._paused = too_much
            transport.pause_reading() if too_much else transport.resume_reading()

    def _begin(self) -> bool:
        """Starts on the next request; False where more of it is needed, or it is another's."""
        ahead = self._ahead
        end = ahead.find(plain.END, 0, plain.MAX_BYTES)
        if end < 0:
            if not ahead.startswith(plain.START[: len(ahead)]) or len(ahead) >= plain.MAX_BYTES:
                self._hand_over()
            return False
        end += len(plain.END)
        head = self._express.heads.read(ahead[:end])
        if head is None or not self._express.takes(head):
            self._hand_over()
            return False
        arrived = ahead[end : end + head.length]
        self._filled = len(arrived)
        self._ahead = ahead[end + self._filled :]
        exchange = self._exchange
        if exchange.begin(head, self._address):
            if self._filled == head.length:
                exchange.asked = exchange.started
                exchange.ask(arrived)
            else:
                self._await_body(arrived, head.length)
        return True

    def _await_body(self, arrived: bytes, length: int) -> None:
        body = self._exchange.memory(length)
        if body is not None:
            body[: len(arrived)] = arrived
            self._body = body
            self._pace.begin(self._exchange.started, self._filled, length - self._filled)

    def _send(self, reply: Reply, last: bool) -> float:
        """Writes the answer to the request in progress, and is ready for the next one.

        Args:
            last: hang up afterwards.

        Returns:
            When it was written.
        """
        exchange, transport = self._exchange, self._transport
        assert exchange.head is not None
        assert transport is not None
        self._body = None
        self._swallow = exchange.head.length - self._filled
        self._last = last or self._is_to_leave() or self._swallow > _SWALLOW_BYTES
        data = written(reply, exchange.id, self._express.stamp, last=self._last)
        self._reading.written += len(data)
        transport.write(data)
        self._heard = now = time.monotonic()
        if self._swallow:
            self._pace.begin(now, -self._swallow, self._swallow)
        if self._last:
            self._lingers_until = now + self._express.patience.lingering
            if not self._swallow:
                self.close()
        elif self._ahead:
            asyncio.get_running_loop().call_soon(self._advance)
        return now

    def _is_to_leave(self) -> bool:
        """Whether this answer is to be the last. What was sent already is answered."""
        if not self._express.doors.closing or self._ahead:
            return False
        return self._transport is None or not unseen_bytes(self._transport)

    def _turn_away(self, error: DemitasseError) -> None:
        """Tells a caller without a request, waits a little for it to read that, and hangs up."""
        assert self._transport is not None
        id, now = replies.request_id(None), time.monotonic()
        reply = replies.refusal(error, id)
        self._last, self._swallow = True, sys.maxsize
        self._lingers_until = now + self._express.patience.lingering
        self._transport.write(written(reply, id, self._express.stamp, last=True))
        count_unasked(reply.status, error.code)
        self._express.complaints.note(self._address, error.detail, "")

    def _hand_over(self) -> None:
        """From here on, this is aiohttp's connection."""
        transport, ahead = self._transport, self._ahead
        assert transport is not None
        self._leave()
        self._transport, self._ahead = None, b""
        self._exchange.close()
        protocol = self._express.aiohttp()
        transport.set_protocol(protocol)
        transport.resume_reading()  # now: given its first bytes, aiohttp may pause it again
        protocol.connection_made(transport)
        protocol.data_received(ahead)
