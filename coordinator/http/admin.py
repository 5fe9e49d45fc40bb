"""What operators do: settings, aliases, serving. On a listener of its own, on loopback.

Every change goes through the catalog, which keeps the history, and is in force
on every connected minion when the answer leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from coordinator.errors import (
    Conflict,
    DemitasseError,
    InvalidBody,
    InvalidJson,
    InvalidParameter,
    UnknownAlias,
    UnknownModel,
    UnknownVersion,
    UnsupportedMediaType,
)
from coordinator.http.answers import write_answer
from coordinator.http.body import defer_continue, read_body
from coordinator.http.descriptions import admission
from coordinator.http.keys import DIRECTORY, FLEET, LIMITS
from coordinator.http.media_types import JSON
from coordinator.http.probes import livez, metrics
from coordinator.inquiries import Inquiries
from model_registry import errors as registry_errors
from model_registry.catalog import Catalog
from model_registry.settings import SettingsChange

CATALOG = web.AppKey("catalog", Catalog)
INQUIRIES = web.AppKey("inquiries", Inquiries)
Body = TypeVar("Body", bound=msgspec.Struct)

_MAX_BODY_BYTES = 64 * 1024
_MAX_WHO = 64
#: Who an operator says to be; anybody who reaches this listener is trusted with it.
WHO_HEADER = "Demitasse-Operator"


class SettingsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    queue_limit: int | None = None
    promise_seconds: float | None = None
    max_batch_size: int | None = None
    max_queue_delay_seconds: float | None = None


class AliasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str


class ServingBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    serving: bool


def add_routes(app: web.Application) -> None:
    router = app.router
    router.add_get("/livez", livez, expect_handler=defer_continue)
    router.add_get("/metrics", metrics, expect_handler=defer_continue)
    router.add_get("/fleet", show_fleet, expect_handler=defer_continue)
    router.add_get("/requests/{id:.+}", explain, expect_handler=defer_continue)
    router.add_get("/models/{name}/history", show_history, expect_handler=defer_continue)
    router.add_patch("/models/{name}/settings", tune, expect_handler=defer_continue)
    router.add_delete("/models/{name}/settings", reset, expect_handler=defer_continue)
    router.add_put("/models/{name}/aliases/{alias}", set_alias, expect_handler=defer_continue)
    router.add_delete("/models/{name}/aliases/{alias}", remove_alias, expect_handler=defer_continue)
    router.add_put(
        "/models/{name}/versions/{version}/serving", set_serving, expect_handler=defer_continue
    )


async def tune(request: web.Request) -> web.Response:
    who, body = _who(request), await _read(request, SettingsBody)
    name = request.match_info["name"]

    def change(catalog: Catalog) -> None:
        wanted = SettingsChange(
            queue_limit=body.queue_limit,
            promise=body.promise_seconds,
            max_batch_size=body.max_batch_size,
            max_queue_delay=body.max_queue_delay_seconds,
        )
        catalog.tune(name, wanted, who=who)

    await _change(request, change)
    return _settings(request, name)


async def reset(request: web.Request) -> web.Response:
    who, name = _who(request), request.match_info["name"]
    await _change(request, lambda catalog: catalog.reset(name, who=who))
    return _settings(request, name)


def _settings(request: web.Request, name: str) -> web.Response:
    entry = request.app[DIRECTORY].current().models[name]
    settings = entry.settings_for(entry.representative)
    return write_answer(
        request,
        {"model": name, "settings": settings.document(), "revision": settings.revision},
    )


async def set_alias(request: web.Request) -> web.Response:
    who, body = _who(request), await _read(request, AliasBody)
    name, alias = request.match_info["name"], request.match_info["alias"]
    await _change(request, lambda catalog: catalog.set_alias(name, alias, body.version, who=who))
    return write_answer(request, {"model": name, "alias": alias, "version": body.version})


async def remove_alias(request: web.Request) -> web.Response:
    who, name, alias = _who(request), request.match_info["name"], request.match_info["alias"]
    await _change(request, lambda catalog: catalog.remove_alias(name, alias, who=who))
    return write_answer(request, {"model": name, "alias": alias, "version": None})


async def set_serving(request: web.Request) -> web.Response:
    who, body = _who(request), await _read(request, ServingBody)
    name, version = request.match_info["name"], request.match_info["version"]

    def change(catalog: Catalog) -> None:
        apply = catalog.serve if body.serving else catalog.retire
        apply(name, version, who=who)

    await _change(request, change)
    return write_answer(request, {"model": name, "version": version, "serving": body.serving})


async def show_history(request: web.Request) -> web.Response:
    name, catalog = request.match_info["name"], request.app[CATALOG]
    try:
        moves = {
            "settings": await asyncio.to_thread(catalog.settings_history, name),
            "aliases": await asyncio.to_thread(catalog.alias_history, name),
            "serving": await asyncio.to_thread(catalog.serving_history, name),
        }
    except registry_errors.RegistryError as error:
        raise _translated(error) from error
    return write_answer(request, msgspec.to_builtins({"model": name, **moves}))


async def show_fleet(request: web.Request) -> web.Response:
    """The replicas as this process sees them."""
    replicas = [
        {
            "replica": replica.place.id,
            "model": replica.place.model,
            "version": replica.place.version,
            "ready": replica.ready,
            "occupied": replica.occupied,
            "admission": admission(replica),
        }
        for replica in request.app[FLEET].all()
    ]
    return write_answer(request, {"replicas": replicas})


async def explain(request: web.Request) -> web.Response:
    """What became of a request: all records of its id on this machine, the oldest first."""
    id = request.match_info["id"]
    found = await request.app[INQUIRIES].find(id)
    return write_answer(request, {"request_id": id, "records": found})


async def _read(request: web.Request, kind: type[Body]) -> Body:
    if request.content_type != JSON:  # which a browser asks us about before it sends it
        raise UnsupportedMediaType(field="Content-Type", members={"accepted": [JSON]})
    data = await read_body(request, _MAX_BODY_BYTES, request.app[LIMITS])
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidJson(str(error)) from error


async def _change(request: web.Request, change: Callable[[Catalog], object]) -> None:
    """Writes to the catalog in a thread, then has this process act on it before the answer."""
    try:
        # A change that was begun is finished, whether or not its caller waits.
        await asyncio.shield(asyncio.to_thread(change, request.app[CATALOG]))
    except registry_errors.RegistryError as error:
        raise _translated(error) from error
    await request.app[DIRECTORY].refresh()


def _translated(error: registry_errors.RegistryError) -> DemitasseError:
    """The registry's refusal as one of ours."""
    if isinstance(error, registry_errors.UnknownModel):
        return UnknownModel(str(error), members={"available": list(error.known)})
    if isinstance(error, registry_errors.UnknownVersion):
        return UnknownVersion(str(error), members={"available": list(error.known)})
    if isinstance(error, registry_errors.UnknownAlias):
        return UnknownAlias(str(error), members={"available": list(error.known)})
    if isinstance(error, registry_errors.VersionInUse):
        return Conflict(str(error))
    if isinstance(error, registry_errors.InvalidSettings):
        return InvalidParameter(str(error), field=error.setting)
    if isinstance(error, registry_errors.InvalidAlias):
        return InvalidParameter(str(error), field="alias")
    return InvalidParameter(str(error))


def _who(request: web.Request) -> str:
    """Raises InvalidParameter: a name that no history could hold."""
    who = request.headers.get(WHO_HEADER, "admin")
    try:
        who.encode()
    except UnicodeEncodeError:
        raise InvalidParameter("the operator's name is not UTF-8", field=WHO_HEADER) from None
    return who[:_MAX_WHO]
