"""The typed keys under which a request and the application keep what belongs to the edge.

Here are those of the edge as a whole: limits, timeouts, ids. Keys of rooms stand
beside the handlers that ask them: ANALYSIS, DIRECTORY and FLEET in `native`,
CATALOG in `admin`; `app.py` sets them all.
"""

from __future__ import annotations

from aiohttp import web

from coordinator.http.body import PayloadLimits
from coordinator.http.head import Callers, Timeouts

#: Set by the middleware before any handler runs.
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)

#: How large a body may be; set by `app.py` from the configuration.
LIMITS: web.AppKey[PayloadLimits] = web.AppKey("limits", PayloadLimits)

#: How long a request may take; set by `app.py` from the configuration.
TIMEOUTS: web.AppKey[Timeouts] = web.AppKey("timeouts", Timeouts)

#: Whom requests are for; set by `app.py` from the configuration.
CALLERS: web.AppKey[Callers] = web.AppKey("callers", Callers)

#: Set by the middleware on a request that was refused: the error's code, for whoever counts.
ERROR_CODE: web.RequestKey[str] = web.RequestKey("error_code", str)
