"""A minion's HTTP surface: enough to use it alone with curl, and the door for links.

`/livez` the process answers; `/readyz` it should get traffic; `/status` who
works here; `/cost` what batches took; `/metrics`; `PATCH /settings` tunes;
`POST /infer` runs one example; `GET /link` with `Upgrade: demitasse/3` turns
the connection into a link. Who may ask for what is for `door` to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec
import numpy as np
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from minion.host.door import LINK, door, is_local
from minion.host.examples import Failed, Outcome, Refused
from minion.host.lane import Lane
from minion.host.link import HostLink, Links
from minion.host.metrics import host_metrics
from minion.host.problems import problem
from minion.host.spec import ServiceSpec
from wire.answers import unpack_answer
from wire.credentials import NONCE_HEADER, PROOF_HEADER, Challenge, Secret
from wire.errors import Code, WireError
from wire.flows import (
    ANYBODY,
    CALLER_HEADER,
    CLASS_HEADER,
    Flow,
    caller_number,
    checked_caller,
    rank_of,
)
from wire.frames import UPGRADE_TOKEN
from wire.greetings import Ready
from wire.parameters import checked_parameters
from wire.tensor import DTYPES, Tensor
from wire.tuning import Tuning

#: What one example may take over HTTP; links have limits of their own.
MAX_BODY_BYTES = 256 * 2**20

SPEC = web.AppKey("spec", ServiceSpec)
LANE = web.AppKey("lane", Lane)
METRICS = web.AppKey("metrics", CollectorRegistry)
LINKS = web.AppKey("links", Links)
SECRET = web.AppKey("secret", Secret)

#: Everything else that keeps an example from its answer is in its own inputs.
_STATUS = {
    Code.QUEUE_FULL.value: 429,
    Code.NOT_READY.value: 503,
    Code.DRAINING.value: 503,
    Code.DEADLINE_EXCEEDED.value: 504,
    Code.DEADLINE_UNMEETABLE.value: 504,
}

#: numpy's kinds of what may be written for a dtype of a kind.
_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}


class SettingsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A PATCH of the numbers that may change while the lane runs."""

    queue_limit: int | None = None
    promise_seconds: float | None = None
    max_batch_size: int | None = None
    max_queue_delay_seconds: float | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """One example: nested lists by input name."""

    inputs: dict[str, Any]
    parameters: dict[str, Any] = {}


def create_app(
    spec: ServiceSpec,
    *,
    grace_seconds: float,
    secret: Secret | None = None,
    adopts_orphans: bool = False,
) -> web.Application:
    """The host's application. Starting it starts the workers; stopping it drains the lane.

    Args:
        secret: what coordinators on TCP have to know; None: there are none.
        adopts_orphans: this process is nothing but this host, and what its workers have
            started and left is ended with them.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[door])
    app[SPEC] = spec
    if secret is not None:
        app[SECRET] = secret
    app[LINKS] = Links()

    async def lane(app: web.Application) -> AsyncIterator[None]:
        app[LANE] = Lane(spec)
        app[METRICS] = host_metrics(app[LANE])
        if adopts_orphans:
            app[LANE].keeper.children.adopt()
        app[LANE].start()
        yield
        await app[LANE].stop()

    async def drain(app: web.Application) -> None:
        # aiohttp calls this when nobody can connect any more and before it closes connections.
        await app[LANE].drain(grace_seconds)
        for link in app[LINKS].copy():
            link.close()

    app.cleanup_ctx.append(lane)
    app.on_shutdown.append(drain)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/status", status)
    app.router.add_get("/cost", cost)
    app.router.add_get("/metrics", metrics)
    app.router.add_patch("/settings", tune)
    app.router.add_post("/infer", infer)
    app.router.add_get(LINK, link)
    return app


async def livez(request: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    if request.app[LANE].ready:
        return web.Response(text="ready\n")
    return web.Response(text="not ready\n", status=503)


async def status(request: web.Request) -> web.Response:
    spec, lane = request.app[SPEC], request.app[LANE]
    return _json(
        {
            "model": spec.model,
            "version": spec.version,
            "replica": spec.replica,
            "ready": lane.ready,
            "draining": lane.draining,
            "occupied": lane.bouncer.occupied,
            "limit": lane.bouncer.limit,
            "queued": lane.queued,
            "settings": _settings(lane.tuning),
            "workers": [
                {"pid": worker.pid, "state": worker.state.value} for worker in lane.keeper.workers
            ],
            "failed": lane.keeper.failed,
            "worker_ends": lane.keeper.restarts,
            "workers_replaced": lane.keeper.replaced,
            "last_failure": lane.keeper.last_failure,
            "last_lines": list(lane.keeper.last_lines),
        }
    )


async def cost(request: web.Request) -> web.Response:
    """What batches have taken lately, and on what: for whoever plans."""
    spec, lane = request.app[SPEC], request.app[LANE]
    return _json(
        {
            "model": spec.model,
            "version": spec.version,
            "settings": _settings(lane.tuning),
            "workers": spec.workers,
            "batches": list(lane.ran),
        }
    )


async def metrics(request: web.Request) -> web.Response:
    body = generate_latest(request.app[METRICS])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def tune(request: web.Request) -> web.Response:
    lane = request.app[LANE]
    try:
        change = msgspec.json.decode(await request.read(), type=SettingsChange)
        tuning = _changed(lane.tuning, change)
    except (ValueError, RecursionError) as error:
        return problem(400, "invalid-settings", str(error))
    return _json(_settings(lane.tune(tuning)))


async def infer(request: web.Request) -> web.Response:
    try:
        body = msgspec.json.decode(await request.read(), type=InferRequest)
        inputs = _tensors(body.inputs, request.app[SPEC])
        parameters = checked_parameters(body.parameters)
        flow = _flow(request)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return problem(400, "invalid-request", str(error))
    try:
        outcome = await run_one(request.app[LANE], inputs, parameters, flow)
    except Refused as refused:
        return problem(
            _STATUS.get(refused.code.value, 422),
            refused.code.value,
            refused.detail,
            refused.retry_after_seconds,
            refused.numbers,
        )
    if isinstance(outcome, Failed):
        return problem(_STATUS.get(outcome.code, 422), outcome.code, outcome.detail)
    return _json(
        {
            "output": _listed(unpack_answer(outcome.answer)),
            "batch_size": outcome.batch_size,
            "timeline_ms": {
                "queue": round(outcome.queue_seconds * 1000, 3),
                "predict": round(outcome.predict_seconds * 1000, 3),
            },
        }
    )


async def run_one(
    lane: Lane,
    inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Any],
    flow: Flow = ANYBODY,
) -> Outcome:
    """Submits one example and waits for its outcome; abandons it when the caller is cancelled.

    Raises:
        Refused: it was not let in.
    """
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(result: Outcome) -> None:
        if not outcome.done():  # cancelled a moment ago, and the caller has not run since
            outcome.set_result(result)

    example = lane.submit(inputs, parameters, None, settle, flow)
    try:
        return await outcome
    except asyncio.CancelledError:
        lane.abandon(example)
        raise


async def link(request: web.Request) -> web.StreamResponse:
    """Hands the connection over to a HostLink and waits until that has lost it."""
    if request.headers.get("Upgrade") != UPGRADE_TOKEN:
        return problem(426, "upgrade-required", f"this path speaks {UPGRADE_TOKEN} only")
    spec, app = request.app[SPEC], request.app
    response = web.StreamResponse(status=101)
    expected = None
    if not is_local(request):
        challenge = _challenge(request)
        if challenge is None:
            return problem(403, "forbidden", "over TCP, a link needs a secret that both know")
        response.headers[NONCE_HEADER] = challenge.nonce
        response.headers[PROOF_HEADER] = challenge.proof
        expected = challenge.expected
    response.headers["Upgrade"] = UPGRADE_TOKEN
    response.headers["Connection"] = "Upgrade"
    await response.prepare(request)
    transport = cast(asyncio.Transport, request.transport)  # uvloop's is no subclass
    ready = Ready(spec.model, spec.version, spec.replica, spec.epoch)
    # aiohttp keeps a task and its own protocol for every connection until told of its end,
    # and at shutdown waits a second for each: its connection_lost cancels this handler.
    host_link = HostLink(
        app[LANE],
        ready,
        app[LINKS],
        request.protocol.connection_lost,
        expected,
    )
    transport.set_protocol(host_link)
    host_link.connection_made(transport)
    await asyncio.get_running_loop().create_future()
    return response


def _challenge(request: web.Request) -> Challenge | None:
    secret = request.app.get(SECRET)
    return None if secret is None else secret.challenge(request.headers.get(NONCE_HEADER, ""))


def _flow(request: web.Request) -> Flow:
    """For whom it is. Raises InvalidFlow, a ValueError."""
    urgency, caller = request.headers.get(CLASS_HEADER), request.headers.get(CALLER_HEADER)
    name = request.remote or "" if caller is None else checked_caller(caller)
    return Flow(0 if urgency is None else rank_of(urgency), caller_number(name))


def _tensors(inputs: Mapping[str, Any], spec: ServiceSpec) -> dict[str, Tensor]:
    tensors = {}
    for name, value in inputs.items():
        declared = spec.inputs.get(name)
        if declared is None:
            raise WireError(f"unknown input {name!r}, expected {sorted(spec.inputs)}")
        array = _array(value, DTYPES[declared.dtype])
        if array is None:
            raise WireError(f"input {name!r}: the values are not all {declared.dtype}")
        tensors[name] = Tensor.from_array(array)
    return tensors


def _array(value: Any, wanted: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Nested lists of numbers or booleans as an array, or None if a value would not stay itself.

    numpy picks a dtype first: asked for one, it parses strings and cuts fractions off.
    """
    found = np.asarray(value)
    if found.size and found.dtype.kind not in _KINDS[wanted.kind]:
        return None
    with np.errstate(over="ignore"):
        array = found.astype(wanted)
    same = np.isfinite(array) if wanted.kind == "f" else array == found
    return array if same.all() else None


def _changed(tuning: Tuning, change: SettingsChange) -> Tuning:
    limit, promise = change.queue_limit, change.promise_seconds
    if limit is not None and promise is not None:
        raise ValueError("queue_limit and promise_seconds cannot both govern")
    if limit is None and promise is None:
        limit, promise = tuning.queue_limit, tuning.promise_seconds
    changed = Tuning(
        limit,
        tuning.max_batch_size if change.max_batch_size is None else change.max_batch_size,
        tuning.max_queue_delay_seconds
        if change.max_queue_delay_seconds is None
        else change.max_queue_delay_seconds,
        tuning.revision,
        promise,
    )
    if (limit is not None and limit < 1) or changed.max_batch_size < 1:
        raise ValueError("queue_limit and max_batch_size are at least 1")
    if promise is not None and not 0 < promise <= 3600:
        raise ValueError("promise_seconds is above 0 and up to 3600")
    if not 0 <= changed.max_queue_delay_seconds <= 60:
        raise ValueError("max_queue_delay_seconds is from 0 to 60")
    return changed


def _settings(tuning: Tuning) -> dict[str, Any]:
    return {key: value for key, value in tuning._asdict().items() if key != "revision"}


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


def _listed(value: Any) -> Any:
    """An answer with nested lists where the model had arrays."""
    if isinstance(value, Tensor):
        return value.array().tolist()
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_listed(item) for item in value]
    return value
