"""The composition root: the only place where rooms are introduced to each other.

Two applications share one set of objects: the public API, and the admin API on
a listener of its own. Everything with a lifetime is opened here in order and
closed in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from coordinator.analysis import Analysis
from coordinator.arrivals import Arrivals, arrivals_folder
from coordinator.cache import AccuracyRule
from coordinator.config import Settings
from coordinator.credentials import admin_key, link_credentials
from coordinator.directory import Directory, Places
from coordinator.fleet import Fleet
from coordinator.http import admin, native, nowhere, openapi, probes
from coordinator.http.access import ADMIN, PUBLIC, refuse_unlisted
from coordinator.http.body import PayloadLimits
from coordinator.http.connection import Connection
from coordinator.http.doors import Doors
from coordinator.http.ending import Ending
from coordinator.http.express import Express
from coordinator.http.guard import programs_only
from coordinator.http.head import Callers, Timeouts
from coordinator.http.keys import CALLERS, DIRECTORY, FLEET, LIMITS, RECORDS, TIMEOUTS
from coordinator.http.listening import Handed, listening
from coordinator.http.middleware import counted, problems
from coordinator.http.pace import Patience
from coordinator.http.watched import Watch
from coordinator.inquiries import Inquiries
from coordinator.parcels import Parcels
from coordinator.readiness import Readiness
from coordinator.records import Records
from coordinator.replica import Place
from coordinator.results import Results
from coordinator.router import narrowed
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases, Replica
from model_registry.snapshot import Snapshot
from storage.engine import open_engine
from wire.heap import give_back_free_pages

#: For handlers whose connections are gone, and that are called off, to see that they are.
_HANDLER_SECONDS = 1.0
#: How often memory that nobody used goes back to the system, and records that are too old are
#: dropped.
_TRIM_SECONDS = 10.0


class StoredRegistry:
    """The registry's database, as a coordinator reads it."""

    def __init__(self, catalog: Catalog, leases: Leases, only: Sequence[str] = ()) -> None:
        """
        Args:
            only: references to the versions that are served here; empty: all that the registry
                says are.
        """
        self._catalog = catalog
        self._leases = leases
        self._only = only
        self._read: Snapshot | None = None
        self._narrowed: Snapshot

    def snapshot(self) -> Snapshot:
        """The same object as before while nothing has changed."""
        read = self._catalog.snapshot()
        if read is not self._read:
            self._read, self._narrowed = read, narrowed(read, self._only)
        return self._narrowed

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
    records: Records
    inquiries: Inquiries
    readiness: Readiness


@contextlib.asynccontextmanager
async def open_rooms(
    settings: Settings, *, name: str, siblings: Path | None = None, only: Sequence[str] = ()
) -> AsyncIterator[Rooms]:
    """Opens storage, registry and fleet; what is alive is connected soon after.

    Args:
        name: what this process calls itself towards the minions.
        siblings: a folder for the sockets of the processes that share its ports, if there are
            several.
        only: references to the models that this platform serves; empty: all that the registry
            says are served.

    Raises:
        InvalidSettings: a file of the links' credentials is missing or wrong.
    """
    credentials = link_credentials(settings)
    engine = open_engine(settings.registry_url)
    catalog = Catalog(engine, ArtifactStore(settings.home / "artifacts"))
    parcels, records = Parcels(), Records()
    arrivals = _arrivals(settings)
    fleet = Fleet(name, parcels, arrivals.note, credentials)
    try:
        async with _results(settings) as results, _recording(arrivals):
            directory = Directory(
                StoredRegistry(catalog, Leases(engine), only),
                fleet,
                on_change=results.follow,
                poll_interval_seconds=settings.poll_interval,
            )
            await directory.refresh()
            inquiries = Inquiries(records, siblings)
            async with (
                _running(directory.follow()),
                _running(_trim(parcels, records)),
                inquiries.open_to_siblings(),
            ):
                analysis = Analysis(fleet, directory, results)
                readiness = Readiness(analysis, fleet)
                yield Rooms(catalog, directory, fleet, analysis, records, inquiries, readiness)
    finally:
        fleet.stop()
        parcels.close()
        engine.dispose()


def _arrivals(settings: Settings) -> Arrivals:
    return Arrivals(
        arrivals_folder(settings.home),
        max_bytes=settings.arrivals_bytes,
        max_age_seconds=settings.arrivals_max_age,
    )


@contextlib.asynccontextmanager
async def _recording(arrivals: Arrivals) -> AsyncIterator[None]:
    try:
        async with _running(arrivals.follow()):
            yield
    finally:
        await asyncio.to_thread(arrivals.close)


async def _trim(parcels: Parcels, records: Records) -> None:
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        parcels.trim()
        records.trim(time.monotonic())
        give_back_free_pages()


@contextlib.asynccontextmanager
async def _results(settings: Settings) -> AsyncIterator[Results]:
    rule = AccuracyRule(settings.cache_min_accuracy, settings.cache_accuracy_step)
    if not settings.cache_redis_url or not settings.cache_bytes:
        yield Results(settings.cache_bytes, rule)
        return
    from coordinator.shared_results import SharedResults  # 5 MB that only those pay who share

    shared = SharedResults(settings.cache_redis_url, patience_seconds=settings.cache_redis_timeout)
    try:
        yield Results(settings.cache_bytes, rule, shared)
    finally:
        await shared.close()


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
    app[LIMITS] = _limits(settings)
    app[TIMEOUTS] = _timeouts(settings)
    app[CALLERS] = Callers(settings.weights)
    app[RECORDS] = rooms.records
    app[probes.READINESS] = rooms.readiness
    native.add_routes(app)
    openapi.add_routes(app)
    refuse_unlisted(app, PUBLIC)
    nowhere.add_routes(app)
    return app


def create_admin_app(settings: Settings, rooms: Rooms) -> web.Application:
    """The API that operators use.

    Raises:
        InvalidSettings: the file with its key is missing or wrong.
    """
    app = web.Application(
        middlewares=[problems, programs_only(settings.admin_host, admin_key(settings))]
    )
    _introduce(app, rooms)
    app[LIMITS] = _limits(settings)
    app[admin.INQUIRIES] = rooms.inquiries
    admin.add_routes(app)
    refuse_unlisted(app, ADMIN)
    nowhere.add_routes(app)
    return app


@contextlib.asynccontextmanager
async def serve_public(
    settings: Settings, rooms: Rooms, ending: Ending | None = None, handed: Handed | None = None
) -> AsyncIterator[int]:
    """The public API on its port, which it gives; drains when the block is left.

    Args:
        ending: the process's own, where signals may tell of it.
        handed: sockets of a supervisor, in place of one that is opened.
    """
    ending = ending or Ending()
    doors = doors_of(settings)
    ending.concerns(doors)
    app = create_public_app(settings, rooms)
    app[probes.ENDING] = ending
    watch = await open_watch(app, settings, doors)
    express = Express(
        rooms.directory.current,
        rooms.analysis,
        _limits(settings),
        _timeouts(settings),
        Callers(settings.weights),
        _patience(settings),
        doors,
        rooms.records,
        watch.protocol,
    )
    try:
        make = partial(Connection, express)
        async with listening(
            make, settings.host, settings.port, handed, for_good=lambda: ending.for_good
        ) as port:
            yield port
        await ending.drain(lambda: [*express.connections, *watch.connections], settings.drain_grace)
    finally:
        express.close()
        await watch.close()


@contextlib.asynccontextmanager
async def serve_admin(
    settings: Settings, rooms: Rooms, ending: Ending, handed: Handed | None = None
) -> AsyncIterator[int]:
    """The admin API on its port, which it gives; drains as the public one."""
    doors = doors_of(settings)
    ending.concerns(doors)
    watch = await open_watch(create_admin_app(settings, rooms), settings, doors)
    try:
        async with listening(
            watch.protocol,
            settings.admin_host,
            settings.admin_port,
            handed,
            for_good=lambda: ending.for_good,
        ) as port:
            yield port
        await ending.drain(lambda: list(watch.connections), settings.drain_grace)
    finally:
        await watch.close()


async def open_watch(app: web.Application, settings: Settings, doors: Doors) -> Watch:
    """aiohttp's server of an application, which has no port yet; whoever opened it closes it."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_HANDLER_SECONDS)
    await runner.setup()
    return Watch(runner, _patience(settings), doors)


def doors_of(settings: Settings) -> Doors:
    return Doors(settings.max_connections, settings.max_connections_per_address)


def _patience(settings: Settings) -> Patience:
    return Patience(
        keepalive=settings.keepalive_timeout,
        head=settings.head_timeout,
        body=settings.body_timeout,
        body_idle=settings.body_idle_timeout,
        answer=settings.answer_timeout,
        lingering=settings.lingering_time,
        least_per_second=settings.min_rate,
    )


def _limits(settings: Settings) -> PayloadLimits:
    return PayloadLimits(
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_images=settings.max_images,
        max_parts=settings.max_parts,
        body_timeout=settings.body_timeout,
        body_idle_timeout=settings.body_idle_timeout,
        min_rate=settings.min_rate,
        max_inflated_bytes=settings.max_inflated_bytes,
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(settings.default_timeout, settings.max_timeout)


def _introduce(app: web.Application, rooms: Rooms) -> None:
    app[native.ANALYSIS] = rooms.analysis
    app[DIRECTORY] = rooms.directory
    app[FLEET] = rooms.fleet
    app[admin.CATALOG] = rooms.catalog
