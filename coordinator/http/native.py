"""Our own protocol: analyze photos, ask one model, see what there is.

Handlers translate and do nothing else. The place is taken when the head has
arrived; the body is read after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from coordinator.analysis import Analysis
from coordinator.directory import Directory
from coordinator.errors import BodyTimeout, Draining, NotServing
from coordinator.explanations import part_of
from coordinator.fleet import Fleet
from coordinator.http import payloads
from coordinator.http.ending import Ending
from coordinator.http.keys import ASKED, CALLERS, CAME, LIMITS, REQUEST_ID, TIMEOUTS
from coordinator.merge import Outcome, model_entry
from coordinator.metrics import exposition, flush
from coordinator.readiness import Readiness
from coordinator.replica import Replica
from coordinator.router import ModelRef, named, resolve
from model_registry.snapshot import ModelEntry, Version
from wire.flows import Flow

ANALYSIS = web.AppKey("analysis", Analysis)
DIRECTORY = web.AppKey("directory", Directory)
FLEET = web.AppKey("fleet", Fleet)
READINESS = web.AppKey("readiness", Readiness)
ENDING = web.AppKey("ending", Ending)
T = TypeVar("T")


def add_routes(app: web.Application) -> None:
    router = app.router
    continue_later = payloads.defer_continue
    router.add_post("/analyze", analyze, expect_handler=continue_later)
    router.add_post("/models/{name}/infer", infer, expect_handler=continue_later)
    router.add_post("/models/{name}/versions/{version}/infer", infer, expect_handler=continue_later)
    router.add_get("/models", list_models, expect_handler=continue_later)
    router.add_get("/models/{name}", show_model, expect_handler=continue_later)
    router.add_get("/models/{name}/versions/{version}", show_version, expect_handler=continue_later)
    router.add_get("/livez", livez, expect_handler=continue_later)
    router.add_get("/readyz", readyz, expect_handler=continue_later)
    router.add_get("/metrics", metrics, expect_handler=continue_later)


async def analyze(request: web.Request) -> web.Response:
    analysis = request.app[ANALYSIS]
    wanted = payloads.wanted_refs(request, request.app[TIMEOUTS])
    flow = request.app[CALLERS].of(request)
    with analysis.admit(
        wanted.models, wanted.timeout, flow, require=wanted.require, optional=wanted.optional
    ) as admission:
        request[CAME] = admission.photos
        reading = payloads.read_photos(request, request.app[LIMITS])
        photos = await _in_time(request, reading, admission.asked.deadline)
        answer = await analysis.run(admission, photos)
    return payloads.write_answer(request, {"request_id": request[REQUEST_ID], **answer})


async def infer(request: web.Request) -> web.Response:
    started = time.monotonic()
    version = _version(request)
    deadline = started + payloads.only_timeout(request, request.app[TIMEOUTS])
    ask = _of_a_photo if _sends_photo(request, version) else _of_its_inputs
    flow = request.app[CALLERS].of(request)
    outcome, decode_seconds = await ask(request, version, deadline, flow)
    request[CAME] = part_of(version.model, version.version, outcome, decode_seconds)
    entry = model_entry(version.version, outcome)
    return payloads.write_answer(
        request, {"request_id": request[REQUEST_ID], "model": version.model, **entry}
    )


def _sends_photo(request: web.Request, version: Version) -> bool:
    """Whether the body is to go through the image tier; the head says so."""
    sent = request.content_type
    return version.manifest.takes_photo and (
        sent.startswith("image/") or sent == payloads.MULTIPART
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
        reading = payloads.read_photo(request, request.app[LIMITS])
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


async def list_models(request: web.Request) -> web.Response:
    snapshot = request.app[DIRECTORY].current()
    models = [_model(entry, request.app[FLEET]) for entry in snapshot.models.values()]
    return payloads.write_answer(request, {"models": models})


async def show_model(request: web.Request) -> web.Response:
    entry = named(request.app[DIRECTORY].current(), request.match_info["name"])
    version = entry.versions[entry.representative]
    return payloads.write_answer(
        request,
        {
            **_model(entry, request.app[FLEET]),
            **_schemas(version),
            "admission": _admissions(version, request.app[FLEET]),
        },
    )


async def show_version(request: web.Request) -> web.Response:
    version = _version(request)
    entry = request.app[DIRECTORY].current().models[version.model]
    return payloads.write_answer(
        request,
        {
            "name": version.model,
            **_summary(version, request.app[FLEET]),
            "aliases": sorted(
                a for a, number in entry.aliases.items() if number == version.version
            ),
            **_schemas(version),
        },
    )


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
    return payloads.write_answer(request, {"ready": True, "models": readiness.models()})


async def metrics(request: web.Request) -> web.Response:
    flush()
    body = await asyncio.to_thread(exposition)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _version(request: web.Request) -> Version:
    ref = ModelRef(request.match_info["name"], request.match_info.get("version"))
    return resolve(request.app[DIRECTORY].current(), ref)


def _model(entry: ModelEntry, fleet: Fleet) -> dict[str, Any]:
    default = entry.default
    manifest = entry.versions[default].manifest if default is not None else None
    return {
        "name": entry.name,
        "description": manifest.description if manifest is not None else "",
        "default": default,
        "analyze": manifest.analyze if manifest is not None else False,
        "aliases": dict(entry.aliases),
        "settings": entry.settings_for(default).document() if default is not None else None,
        "versions": [_summary(version, fleet) for version in entry.versions.values()],
    }


def _summary(version: Version, fleet: Fleet) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "published_at": version.published_at.isoformat(),
        "serving": version.serving,
        "ready": fleet.ready(version.model, version.version),
        "notes": version.manifest.release_notes,
    }


def _admissions(version: Version, fleet: Fleet) -> list[dict[str, Any]]:
    found = (admission(each) for each in fleet.replicas(version.model, version.version))
    return [each for each in found if each is not None]


def admission(replica: Replica) -> dict[str, Any] | None:
    """What one replica lets in, and from what that follows; None while it lets nobody in."""
    status = replica.status
    if status is None or not replica.ready:
        return None
    promise = status.promise
    return {
        "replica": replica.place.id,
        "occupied": replica.occupied,
        "limit": status.queue_limit,
        "batch_limit": status.batch_limit,
        "workers": status.workers,
        "seconds_alone": status.seconds_alone,
        "seconds_per_example": status.seconds_per_example,
        "promise": None if promise is None else promise._asdict(),
    }


def _schemas(version: Version) -> dict[str, Any]:
    manifest = version.manifest
    quality = manifest.quality
    return {
        "input_schema": manifest.input_schema(),
        "output_schema": manifest.output_schema(),
        "takes_photo": manifest.takes_photo,
        "quality": asdict(quality) if quality is not None else None,
    }
