"""What is asked and answered on one connection of the express lane, one request after another.

From a head to a record: the place is taken, the errand run, its outcome made a reply,
counted and recorded. How bytes arrive, how long they are waited for and how replies are
written is for `connection`, whose only exchange this is: one object for all its
requests, since each object would cost every request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from coordinator.errors import DemitasseError, Internal
from coordinator.explanations import CANCELLED, part_of
from coordinator.http import replies
from coordinator.http.errands import Errand, errand
from coordinator.http.express import Express
from coordinator.http.head import header_timeout
from coordinator.http.plain import PlainHead
from coordinator.http.replies import Reply
from coordinator.merge import Outcome, model_entry
from coordinator.metrics import count_cancelled, count_request, received
from coordinator.records import Part, Record
from coordinator.ticket import Prediction

_log = logging.getLogger(__name__)

#: Routes, and how many requests they have received.
_BARE, _VERSIONED = (
    (route, received(route))
    for route in ("/models/{name}/infer", "/models/{name}/versions/{version}/infer")
)

Send = Callable[[Reply, bool], float]
"""Writes the reply to the request in progress, whether it is the last or not; when it was written,
on the monotonic clock."""


class Exchange:
    """The request in progress, if there is one."""

    __slots__ = (
        "_errand",
        "_express",
        "_route",
        "_send",
        "asked",
        "deadline",
        "head",
        "id",
        "started",
    )

    def __init__(self, express: Express, send: Send) -> None:
        self.head: PlainHead | None = None
        """Its own; None: there is none."""
        self.id: str
        self.started: float
        """When its head was there, on the monotonic clock."""
        self.asked: float
        """When all of it was; 0: not yet. Whoever brings the body says so."""
        self.deadline: float
        """When its caller's timeout is over."""
        self._route: str
        self._express = express
        self._send: Send | None = send
        self._errand: Errand | None = None

    def begin(self, head: PlainHead, address: str) -> bool:
        """Takes a place, or sees to it that one is taken; False: it was refused, and is over.

        Args:
            address: of the caller.
        """
        express = self._express
        self.head = head
        self.started = time.monotonic()
        self.asked = 0.0
        self.id = replies.request_id(head.request_id)
        self._route, received = _BARE if head.ref.selector is None else _VERSIONED
        received[0] += 1
        try:
            version = express.version(head)
            self.deadline = self.started + header_timeout(head.timeout, express.timeouts)
            flow = express.callers.flow(head.urgency, head.caller, address)
            self._errand = errand(
                express.analysis, version, head.media_type, head.length, flow, self.deadline
            )
        except DemitasseError as error:
            self.refuse(error)
        except Exception:
            self._blunder()
        else:
            return True
        return False

    def memory(self, length: int) -> memoryview | None:
        """Where a body may be received that is still to come; None: it was refused, and is over."""
        assert self._errand is not None
        try:
            return self._errand.memory(length)
        except DemitasseError as error:
            self.refuse(error)
        except Exception:
            self._blunder()
        return None

    def ask(self, body: bytes | memoryview) -> None:
        """Sets to work, now that all is here."""
        assert self._errand is not None
        try:
            self._errand.ask(body, self.deadline, self._answered)
        except DemitasseError as error:
            self.refuse(error)
        except Exception:
            self._blunder()

    def refuse(self, error: DemitasseError, *, last: bool = False) -> None:
        """Ends it with a problem.

        Args:
            last: and the connection as well.
        """
        self._end(replies.refusal(error, self.id), error=error, last=last)

    def close(self) -> None:
        """The connection is gone, or another's: whatever is in progress is called off."""
        if self.head is not None:
            count_cancelled(self._route, "waiting" if self.asked else "reading")
            self._record(0, CANCELLED, time.monotonic())
        errand, self.head, self._errand = self._errand, None, None
        if errand is not None:
            errand.close()
        self._send = None  # it leads back to the connection, which leads here

    def _answered(self, outcome: Outcome) -> None:
        if isinstance(outcome, DemitasseError):
            self.refuse(outcome)
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
            self._end(reply, part)

    def _reply_to(self, outcome: Outcome) -> Reply:
        assert self.head is not None
        assert self._errand is not None
        version = self._errand.version
        document = {
            "request_id": self.id,
            "model": version.model,
            **model_entry(version.version, outcome),
        }
        tensors = not isinstance(outcome, Prediction) or bool(outcome.result.answer.tensors)
        return replies.answer(document, self.head.accept, tensors=tensors)

    def _blunder(self) -> None:
        """A fault of ours: logged in full, and shown to nobody."""
        _log.exception("request %s: POST infer failed", self.id)
        self.refuse(Internal())

    def _end(
        self,
        reply: Reply,
        part: Part | None = None,
        *,
        error: DemitasseError | None = None,
        last: bool = False,
    ) -> None:
        """Answers, counts and records.

        Args:
            part, error: for its record, how an answer came about, or why there is none.
        """
        head, errand = self.head, self._errand
        assert head is not None
        assert self._send is not None
        now = self._send(reply, last)
        if error is None:
            count_request(self._route, reply.status, "ok", now - self.started)
            record = Record(
                self.id, self._route, head.ref.name, 200, "ok",
                self.started, self.asked, now, part,
            )  # fmt: skip
            self._express.records.add_plain(record)
        else:
            count_request(self._route, reply.status, error.code, now - self.started)
            self._record(reply.status, error.code, now, reply.body, error)
        self.head = self._errand = None
        if errand is not None:
            errand.close()

    def _record(
        self,
        status: int,
        code: str,
        now: float,
        problem: bytes = b"",
        error: DemitasseError | None = None,
    ) -> None:
        """Of a request without an answer."""
        assert self.head is not None
        record = Record(
            self.id, self._route, self.head.ref.name, status, code,
            self.started, self.asked, now,
            problem=problem,
            reckoning=None if error is None else error.reckoning,
            decode=0.0 if error is None else error.decode_seconds,
        )  # fmt: skip
        self._express.records.add(record)
