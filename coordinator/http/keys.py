"""The typed keys under which a request and the application keep what belongs to the edge.

Here are those that several handlers ask. Keys of rooms that one handler asks stand beside
it: ANALYSIS in `native`, READINESS and ENDING in `probes`, CATALOG and INQUIRIES in
`admin`; `app.py` sets them all.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from aiohttp import web

from coordinator.directory import Directory
from coordinator.errors import DemitasseError
from coordinator.fleet import Fleet
from coordinator.http.body import PayloadLimits
from coordinator.http.head import Callers, Timeouts
from coordinator.records import Part, Photo, Records

#: Set by the middleware before any handler runs.
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)

#: How large a body may be; set by `app.py` from the configuration.
LIMITS: web.AppKey[PayloadLimits] = web.AppKey("limits", PayloadLimits)

#: How long a request may take; set by `app.py` from the configuration.
TIMEOUTS: web.AppKey[Timeouts] = web.AppKey("timeouts", Timeouts)

#: Whom requests are for; set by `app.py` from the configuration.
CALLERS: web.AppKey[Callers] = web.AppKey("callers", Callers)

#: Told of every request that ends; set by `app.py`.
RECORDS: web.AppKey[Records] = web.AppKey("records", Records)

#: The models as last seen, and who answers for them; set by `app.py`.
DIRECTORY: web.AppKey[Directory] = web.AppKey("directory", Directory)
FLEET: web.AppKey[Fleet] = web.AppKey("fleet", Fleet)


class Refused(NamedTuple):
    """Of the error that a request was refused with, what whoever counts and records wants of it.

    Not the error: it would keep its traceback alive, and that the request.
    """

    code: str
    reckoning: object
    decode_seconds: float

    @classmethod
    def by(cls, error: DemitasseError) -> Self:
        return cls(error.code, error.reckoning, error.decode_seconds)


#: Set by the middleware on a request that was refused.
REFUSED: web.RequestKey[Refused] = web.RequestKey("refused", Refused)

#: Set by handlers, for its record: when all of a request was there, on the monotonic clock,
ASKED: web.RequestKey[float] = web.RequestKey("asked", float)
#: and how its answer came about: one model's part, or photos.
CAME: web.RequestKey[Part | list[Photo]] = web.RequestKey("came")
