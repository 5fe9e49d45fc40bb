"""The composition root: the only place where rooms are introduced to each other.

Two applications share one set of objects: the public API, and the admin API on
a listener of its own. Everything with a lifetime is opened here in order and
closed in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NamedTuple

from aiohttp import web

from coordinator.analysis import Analysis
from coordinator.config import Settings
from coordinator.directory import Directory, Places
from coordinator.fleet import Fleet, Place
from coordinator.http import admin, native, openapi
from coordinator.http.body import SERVER_OPTIONS, PayloadLimits
from coordinator.http.guard import programs_only
from coordinator.http.head import Timeouts
from coordinator.http.keys import LIMITS, TIMEOUTS
from coordinator.http.middleware import counted, problems
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases, Replica
from model_registry.snapshot import Snapshot
from storage.engine import open_engine


class StoredRegistry:
    """The registry's database, as a coordinator reads it."""

    def __init__(self, catalog: Catalog, leases: Leases) -> None:
        self._catalog = catalog
        self._leases = leases

    def snapshot(self) -> Snapshot:
        return self._catalog.snapshot()

    def places(self) -> Places:
        return Places(*([_place(each) for each in replicas] for replicas in self._leases.listed()))


def _place(replica: Replica) -> Place:
    return Place(replica.id, replica.model, replica.version, replica.address, replica.epoch)


class Rooms(NamedTuple):
    """What the two applications share."""

    catalog: Catalog
    directory: Directory
    fleet: Fleet
    analysis: Analysis


@contextlib.asynccontextmanager
async def open_rooms(settings: Settings, *, name: str) -> AsyncIterator[Rooms]:
    """Opens storage, registry and fleet; what is alive is connected soon after.

    Args:
        name: what this process calls itself towards the minions.
    """
    engine = open_engine(settings.registry_url)
    catalog = Catalog(engine, ArtifactStore(settings.home / "artifacts"))
    fleet = Fleet(name)
    directory = Directory(
        StoredRegistry(catalog, Leases(engine)),
        fleet,
        poll_interval_seconds=settings.poll_interval,
    )
    try:
        await directory.refresh()
        async with _running(directory.follow()):
            yield Rooms(catalog, directory, fleet, Analysis(fleet, directory))
    finally:
        fleet.stop()
        engine.dispose()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Has it run beside the block, and has seen its end when the block is left."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def create_public_app(settings: Settings, rooms: Rooms) -> web.Application:
    """The API that callers see."""
    app = web.Application(middlewares=[counted, problems])
    _introduce(app, rooms)
    app[LIMITS] = PayloadLimits(
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_images=settings.max_images,
        max_parts=settings.max_parts,
        body_timeout=settings.body_timeout,
        body_idle_timeout=settings.body_idle_timeout,
    )
    app[TIMEOUTS] = Timeouts(settings.default_timeout, settings.max_timeout)
    native.add_routes(app)
    openapi.add_routes(app)
    return app


def create_admin_app(settings: Settings, rooms: Rooms) -> web.Application:
    """The API that operators use."""
    app = web.Application(middlewares=[problems, programs_only(settings.admin_host)])
    _introduce(app, rooms)
    admin.add_routes(app)
    return app


def create_runner(app: web.Application, settings: Settings) -> web.AppRunner:
    """The HTTP server of an application, with the deadlines and options that the edge counts on."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=settings.keepalive_timeout,
        lingering_time=settings.lingering_time,
        shutdown_timeout=settings.drain_grace,
        **SERVER_OPTIONS,
    )


def _introduce(app: web.Application, rooms: Rooms) -> None:
    app[native.ANALYSIS] = rooms.analysis
    app[native.DIRECTORY] = rooms.directory
    app[native.FLEET] = rooms.fleet
    app[admin.CATALOG] = rooms.catalog
