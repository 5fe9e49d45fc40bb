"""One caller's connection, as long as it is on the express lane.

Every connection of the public port begins here. A request that `plain`
recognises is admitted, parsed, sent and answered without a task, a future or a
request object, one at a time on a connection; the first that it does not
recognise takes its connection over to aiohttp for good, with every byte that
has arrived. Both roads share all that decides (router, fleet, payloads,
replies) and answer alike. A large body is received straight into memory of its
own size.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import cast

from coordinator.errors import BodyTimeout, DemitasseError, HeadTimeout, Internal
from coordinator.explanations import CANCELLED, part_of
from coordinator.http import plain, replies
from coordinator.http.complaints import UNREAD
from coordinator.http.ending import out_of_time
from coordinator.http.errands import Errand, errand
from coordinator.http.express import Express
from coordinator.http.head import header_timeout
from coordinator.http.pace import Pace
from coordinator.http.plain import PlainHead, written
from coordinator.http.reading import Reading, reset, unseen_bytes, unsent
from coordinator.http.replies import Reply
from coordinator.merge import Outcome, model_entry
from coordinator.metrics import count_cancelled, count_request, count_unasked, received
from coordinator.records import Part, Record
from coordinator.ticket import Prediction

_log = logging.getLogger(__name__)

#: The rest of a refused body, up to here, is read and thrown away, and the connection kept.
_SWALLOW_BYTES = 1024 * 1024
#: What a caller may send ahead of an answer; then its socket is left alone.
_AHEAD_BYTES = 64 * 1024

#: Routes, and how many requests they have received.
_BARE, _VERSIONED = (
    (route, received(route))
    for route in ("/models/{name}/infer", "/models/{name}/versions/{version}/infer")
)


class Connection(asyncio.BufferedProtocol):
    """One caller's connection: idle, reading a body, or waiting for an answer."""

    __slots__ = (
        "_address",
        "_ahead",
        "_asked",
        "_body",
        "_deadline",
        "_errand",
        "_express",
        "_filled",
        "_head",
        "_heard",
        "_id",
        "_inside",
        "_last",
        "_pace",
        "_paused",
        "_reading",
        "_route",
        "_started",
        "_stuck",
        "_swallow",
        "_transport",
    )

    def __init__(self, express: Express) -> None:
        self._express = express
        self._transport: asyncio.Transport | None = None
        self._address = ""  # of the caller
        self._ahead = b""  # arrived, and not looked at yet
        self._head: PlainHead | None = None  # of the request that is in progress
        self._body: memoryview | None = None  # of which so much has arrived:
        self._filled = 0
        self._swallow = 0  # bytes of a refused body that are still to come
        self._errand: Errand | None = None
        self._paused = False  # reading: too much came ahead
        self._stuck = False  # writing: the caller reads nothing
        self._last = False  # it was answered that nothing more will be
        self._inside = False  # counted at the doors
        self._started = self._heard = now = time.monotonic()
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
        if transport is None or self._head is not None or self._ahead or self._swallow:
            return
        if not unseen_bytes(transport):
            transport.close()

    def give_up(self) -> bool:
        """Says that there is no more time, and hangs up; whether a request was in progress, or
        an answer on its way."""
        unread = self._transport is not None and unsent(self._transport)
        if self._head is not None:
            self._refuse(out_of_time(), last=True)
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
            if now > self._deadline:
                self.close()
        elif self._swallow:
            kept = self._pace.kept(now, -self._swallow, self._swallow)
            if not kept or silent > patience.body_idle or now - self._started > patience.body:
                self.close()
        elif self._head is None:
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
        if now > self._deadline:
            return "the body took longer to arrive than the request may take"
        if now - self._started > self._express.patience.body:
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
        self._refuse(BodyTimeout(why), last=True)

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
        if self._head is not None:
            self._left()
        self._free()

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
                self._asked = self._heard
                self._give_up(too_slow) if too_slow else self._ask(body)
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
        while self._ahead and self._head is None and not self._stuck and not self._last:
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
        self._head = head
        self._started = time.monotonic()
        self._asked = 0.0
        self._id = replies.request_id(head.request_id)
        self._route, received = _BARE if head.ref.selector is None else _VERSIONED
        received[0] += 1
        arrived = ahead[end : end + head.length]
        self._filled = len(arrived)
        self._ahead = ahead[end + self._filled :]
        try:
            self._admit(head)
        except DemitasseError as error:
            self._refuse(error)
        except Exception:
            self._blunder()
        else:
            if self._filled == head.length:
                self._asked = self._started
                self._ask(arrived)
            else:
                self._await_body(arrived, head.length)
        return True

    def _admit(self, head: PlainHead) -> None:
        """Takes a place, or sees to it that one is taken. Raises DemitasseError."""
        express = self._express
        version = express.version(head)
        self._deadline = self._started + header_timeout(head.timeout, express.timeouts)
        flow = express.callers.flow(head.urgency, head.caller, self._address)
        self._errand = errand(express.analysis, version, head.media_type, flow, self._deadline)

    def _await_body(self, arrived: bytes, length: int) -> None:
        assert self._errand is not None
        try:
            self._body = self._errand.memory(length)
        except DemitasseError as error:
            self._refuse(error)
            return
        self._body[: len(arrived)] = arrived
        self._pace.begin(self._started, self._filled, self._missing)

    def _ask(self, body: bytes | memoryview) -> None:
        """Sets to work, now that all is here."""
        assert self._errand is not None
        try:
            self._errand.ask(body, self._deadline, self._answered)
        except DemitasseError as error:
            self._refuse(error)
        except Exception:
            self._blunder()

    def _answered(self, outcome: Outcome) -> None:
        if isinstance(outcome, DemitasseError):
            self._refuse(outcome)
            return
        errand = self._errand
        assert errand is not None
        version = errand.version
        try:
            reply = self._reply_to(outcome)
            part = part_of(version.model, version.version, outcome, errand.decode_seconds)
        except Exception:
            self._blunder()
        else:
            self._reply(reply, part)

    def _reply_to(self, outcome: Outcome) -> Reply:
        assert self._head is not None
        assert self._errand is not None
        version = self._errand.version
        document = {
            "request_id": self._id,
            "model": version.model,
            **model_entry(version.version, outcome),
        }
        tensors = not isinstance(outcome, Prediction) or bool(outcome.result.answer.tensors)
        return replies.answer(document, self._head.accept, tensors=tensors)

    def _refuse(self, error: DemitasseError, *, last: bool = False) -> None:
        reply = replies.refusal(error, self._id)
        self._reply(reply, error=error, last=last)

    def _blunder(self) -> None:
        """A fault of ours: logged in full, and shown to nobody."""
        _log.exception("request %s: POST infer failed", self._id)
        self._refuse(Internal())

    def _reply(
        self,
        reply: Reply,
        part: Part | None = None,
        *,
        error: DemitasseError | None = None,
        last: bool = False,
    ) -> None:
        """Answers the request in progress, and is ready for the next one.

        Args:
            part, error: for its record, how an answer came about, or why there is none.
            last: hang up afterwards.
        """
        head = self._head
        assert head is not None
        assert self._transport is not None
        self._swallow = head.length - self._filled
        self._last = last or self._is_to_leave() or self._swallow > _SWALLOW_BYTES
        data = written(reply, self._id, self._express.stamp, last=self._last)
        self._reading.written += len(data)
        self._transport.write(data)
        now = time.monotonic()
        if error is None:
            count_request(self._route, reply.status, "ok", now - self._started)
            record = Record(
                self._id, self._route, head.ref.name, 200, "ok",
                self._started, self._asked, now, part,
            )  # fmt: skip
            self._express.records.add_plain(record)
        else:
            count_request(self._route, reply.status, error.code, now - self._started)
            self._record(reply.status, error.code, now, reply.body, error)
        self._free()
        self._head = None
        self._heard = now
        if self._swallow:
            self._pace.begin(now, -self._swallow, self._swallow)
        if self._last:
            self._deadline = now + self._express.patience.lingering
            if not self._swallow:
                self.close()
        elif self._ahead:
            asyncio.get_running_loop().call_soon(self._advance)

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
        self._deadline = now + self._express.patience.lingering
        self._transport.write(written(reply, id, self._express.stamp, last=True))
        count_unasked(reply.status, error.code)
        self._express.complaints.note(self._address, error.detail, "")

    def _left(self) -> None:
        """The caller did, before the answer."""
        count_cancelled(self._route, "waiting" if self._asked else "reading")
        self._record(0, CANCELLED, time.monotonic())
        self._head = None

    def _record(
        self,
        status: int,
        code: str,
        now: float,
        problem: bytes = b"",
        error: DemitasseError | None = None,
    ) -> None:
        """Of a request without an answer."""
        assert self._head is not None
        record = Record(
            self._id, self._route, self._head.ref.name, status, code,
            self._started, self._asked, now,
            problem=problem,
            reckoning=None if error is None else error.reckoning,
            decode=0.0 if error is None else error.decode_seconds,
        )  # fmt: skip
        self._express.records.add(record, len(problem))

    def _free(self) -> None:
        """Gives place and memory back; an answer that is still on its way is called off."""
        errand, self._errand, self._body = self._errand, None, None
        if errand is not None:
            errand.close()

    def _hand_over(self) -> None:
        """From here on, this is aiohttp's connection."""
        transport, ahead = self._transport, self._ahead
        assert transport is not None
        self._leave()
        self._transport, self._ahead = None, b""
        protocol = self._express.aiohttp()
        transport.set_protocol(protocol)
        transport.resume_reading()  # now: given its first bytes, aiohttp may pause it again
        protocol.connection_made(transport)
        protocol.data_received(ahead)
