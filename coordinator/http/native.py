"""Our own protocol: analyze photos, ask one model, see what there is (`descriptions`, `probes`).

Handlers translate and do nothing else. The place is taken when the head has
arrived; the body is read after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

from aiohttp import web

from coordinator.analysis import Analysis
from coordinator.decoder import DECODER
from coordinator.errors import BodyTimeout
from coordinator.explanations import part_of
from coordinator.http import media_types, payloads
from coordinator.http.answers import write_answer
from coordinator.http.body import defer_continue
from coordinator.http.descriptions import list_models, show_model, show_version
from coordinator.http.head import only_timeout, path_ref, wanted_refs
from coordinator.http.keys import ASKED, CALLERS, CAME, DIRECTORY, LIMITS, REQUEST_ID, TIMEOUTS
from coordinator.http.probes import livez, metrics, readyz
from coordinator.merge import Outcome, model_entry
from coordinator.router import resolve
from model_registry.snapshot import Version
from wire.flows import Flow

ANALYSIS = web.AppKey("analysis", Analysis)
T = TypeVar("T")


def add_routes(app: web.Application) -> None:
    router = app.router
    router.add_post("/analyze", analyze, expect_handler=defer_continue)
    router.add_post("/models/{name}/infer", infer, expect_handler=defer_continue)
    router.add_post("/models/{name}/versions/{version}/infer", infer, expect_handler=defer_continue)
    router.add_get("/models", list_models, expect_handler=defer_continue)
    router.add_get("/models/{name}", show_model, expect_handler=defer_continue)
    router.add_get("/models/{name}/versions/{version}", show_version, expect_handler=defer_continue)
    router.add_get("/livez", livez, expect_handler=defer_continue)
    router.add_get("/readyz", readyz, expect_handler=defer_continue)
    router.add_get("/metrics", metrics, expect_handler=defer_continue)


async def analyze(request: web.Request) -> web.Response:
    analysis = request.app[ANALYSIS]
    wanted = wanted_refs(request, request.app[TIMEOUTS])
    flow = request.app[CALLERS].of(request)
    with analysis.admit(
        wanted.models, wanted.timeout, flow, require=wanted.require, optional=wanted.optional
    ) as admission:
        request[CAME] = admission.photos
        place = partial(admission.seats.memory, DECODER)
        reading = payloads.read_photos(request, request.app[LIMITS], place)
        photos = await _in_time(request, reading, admission.asked.deadline)
        answer = await analysis.run(admission, photos)
    return write_answer(request, {"request_id": request[REQUEST_ID], **answer})


async def infer(request: web.Request) -> web.Response:
    started = time.monotonic()
    version = resolve(request.app[DIRECTORY].current(), path_ref(request))
    deadline = started + only_timeout(request, request.app[TIMEOUTS])
    ask = _of_a_photo if _sends_photo(request, version) else _of_its_inputs
    flow = request.app[CALLERS].of(request)
    outcome, decode_seconds = await ask(request, version, deadline, flow)
    request[CAME] = part_of(version.model, version.version, outcome, decode_seconds)
    entry = model_entry(version.version, outcome)
    return write_answer(
        request, {"request_id": request[REQUEST_ID], "model": version.model, **entry}
    )


def _sends_photo(request: web.Request, version: Version) -> bool:
    """Whether the body is to go through the image tier; the head says so."""
    sent = request.content_type
    return version.manifest.takes_photo and (
        media_types.is_photo(sent) or sent == media_types.MULTIPART
    )


async def _of_its_inputs(
    request: web.Request, version: Version, deadline: float, flow: Flow
) -> tuple[Outcome, float]:
    """The model's answer to its own inputs; no pixels are waited for."""
    analysis, manifest = request.app[ANALYSIS], version.manifest
    with analysis.admit_example(version, flow, deadline) as seats:
        reading = payloads.read_inputs(
            request, manifest.inputs, request.app[LIMITS], photos_too=manifest.takes_photo
        )
        example = await _in_time(request, reading, deadline)
        return await analysis.infer(seats, version, example, deadline), 0.0


async def _of_a_photo(
    request: web.Request, version: Version, deadline: float, flow: Flow
) -> tuple[Outcome, float]:
    """The model's answer to a photo, and how long its pixels were waited for.

    The image tier's place, too, is taken before the body.
    """
    analysis = request.app[ANALYSIS]
    with analysis.admit_photo(version, flow, deadline) as seats:
        reading = payloads.read_photo(request, request.app[LIMITS], partial(seats.memory, DECODER))
        photo = await _in_time(request, reading, deadline)
        return await analysis.infer_photo(seats, version, photo.data, deadline)


async def _in_time(request: web.Request, reading: Awaitable[T], deadline: float) -> T:
    """What was read. Places are not held for a body that comes too late to be answered."""
    if request.content.is_eof():  # a small body came with its head
        read = await reading
    else:
        try:
            async with asyncio.timeout_at(deadline):
                read = await reading
        except TimeoutError:
            raise BodyTimeout("the body took longer to arrive than the request may take") from None
    request[ASKED] = time.monotonic()
    return read
