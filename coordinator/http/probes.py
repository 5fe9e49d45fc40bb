"""What those ask who watch a process: whether it lives, whether it is ready, what it counts.

Handlers of `native` and `admin`; asks no model.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from coordinator.errors import Draining, NotServing
from coordinator.http.answers import write_answer
from coordinator.http.ending import Ending
from coordinator.metrics import exposition, flush
from coordinator.readiness import Readiness

READINESS = web.AppKey("readiness", Readiness)
ENDING = web.AppKey("ending", Ending)


async def livez(request: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    """Ready when `readiness` says so, until this process was told to end."""
    if request.app[ENDING].announced:
        raise Draining("this process is about to end", retry_after=1.0)
    readiness = request.app[READINESS]
    missing = readiness.missing()
    if missing:
        raise NotServing(f"not ready yet: {', '.join(missing)}", retry_after=1.0)
    return write_answer(request, {"ready": True, "models": readiness.models()})


async def metrics(request: web.Request) -> web.Response:
    flush()
    body = await asyncio.to_thread(exposition)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
