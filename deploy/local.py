"""Everything on this machine: coordinators, the image tier, one minion per served version.

The supervisor of `demitasse up`. It has environments built, starts processes,
starts them again when they end, and keeps the minions' leases. It carries no
request: when it is slow, nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from coordinator.config import Settings
from coordinator.config_checks import InvalidSettings
from coordinator.credentials import admin_key, link_credentials
from coordinator.decoder import DECODER, DECODER_VERSION
from coordinator.errors import DemitasseError
from coordinator.router import resolve, served
from deploy.building import build
from deploy.control import Refused, Say, taking_orders
from deploy.fronts import Fronts, NotRolled
from deploy.leasing import HeldLeases
from deploy.listeners import Listeners, open_listeners
from deploy.machine import DeploymentError, address
from deploy.minion import Minion
from deploy.premises import Premises
from deploy.reloading import NotReloaded, changed
from deploy.services import decoder_service, model_service, template_key
from deploy.status import (
    ProcessInfo,
    Status,
    forget_status,
    read_status,
    write_status,
)
from deploy.templates import Templates
from minion.host.spec import ServiceSpec
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases, Replica
from model_registry.snapshot import ModelEntry, Snapshot, Version
from storage.engine import migrate, open_engine
from wire.threads import start_threads

__all__ = ["DeploymentError", "LocalDeployment", "ProcessInfo", "Status", "read_status"]

#: How often the registry is asked what should run.
WATCH_SECONDS = 0.5
#: What a process takes to be gone that was killed.
_ENDING_SECONDS = 0.02
_GENERATIONS = 50
#: For the registry, logs, and what others have left.
_THREADS = 8

Key = tuple[str, str]
"""A model and a version."""


class LocalDeployment:
    """The whole platform on this machine."""

    def __init__(
        self,
        settings: Settings,
        *,
        models: Sequence[str] = (),
        reread: Callable[[], Settings] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            models: references such as `tagger` or `tagger@1.0.0`; empty: every version
                that the registry says is served.
            reread: the settings as they are configured now; raises InvalidSettings. None: they
                are what they are.
            on_change: called whenever `processes` would answer something new.
        """
        self.settings = settings
        self.finished = True
        """Once it has ended: whether all that was asked was answered before."""
        self._as_read = settings  # with port 0, where any will do
        self._reread = reread or (lambda: self._as_read)
        self._building = asyncio.Semaphore(2)  # more would only share the same network and cores
        self.premises = Premises(settings.home)
        self._models = models
        self._on_change = on_change
        self._engine = open_engine(settings.registry_url)
        self._catalog = Catalog(self._engine, ArtifactStore(settings.home / "artifacts"))
        self._leases = HeldLeases(Leases(self._engine))
        self._fronts: Fronts | None = None
        self._templates = Templates(self, settings.templates)
        self._minions: dict[Key, Minion] = {}
        self._retired: dict[asyncio.Task[None], Minion] = {}
        self._wake = asyncio.Event()
        self._dirty = False
        self._trouble = ""

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        """Runs until `stop` is set and everything has drained, or `abort` is.

        Raises:
            DeploymentError: a port or the home is in use, or a model is unknown.
            InvalidSettings: a file with a secret of coordinators is missing or wrong.
        """
        _read_secrets(self.settings)  # said here, before each of them ends because of it
        with self.premises.locked(), self._ports() as (public, admin):
            try:
                await start_threads(_THREADS)
                await asyncio.to_thread(migrate, self._engine)
                await self._serve(public, admin, stop, abort)
            finally:
                self._engine.dispose()

    @property
    def url(self) -> str:
        """Of the public API; where any port will do it has one once `run` has begun."""
        return f"http://{address(self.settings.host, self.settings.port)}"

    def processes(self) -> list[ProcessInfo]:
        """Every process, the supervisor first, workers behind their minion."""
        infos = [ProcessInfo("supervisor", None, None, os.getpid(), None, "running", self._trouble)]
        if self._fronts is not None:
            infos += self._fronts.processes()
        infos += self._templates.processes()
        for minion in self._minions.values():
            role = DECODER if minion.model == DECODER else "minion"
            key = (minion.model, minion.version)
            infos.append(
                ProcessInfo(
                    *(role, *key, minion.pid, minion.address, minion.state, minion.detail),
                    minion.last_lines,
                )
            )
            infos += [
                ProcessInfo("worker", *key, pid, None, state, "") for pid, state in minion.workers
            ]
        return infos

    @property
    def _look_seconds(self) -> float:
        return min(WATCH_SECONDS, self.settings.lease_ttl / 3)

    # What minions need of their deployment.

    def changed(self) -> None:
        self._dirty = True
        self._on_change()

    def lease(self, replica: Replica) -> None:
        self._leases.hold(replica)
        self._wake.set()

    @contextlib.contextmanager
    def _ports(self) -> Iterator[tuple[Listeners, Listeners]]:
        """Both ports are ours, and whoever connects while a coordinator starts again waits."""
        settings, slots = self.settings, self.settings.processes
        with (
            open_listeners(settings.host, settings.port, slots, "--port") as public,
            open_listeners(
                settings.admin_host, settings.admin_port, slots, "--admin-port"
            ) as admin,
        ):
            self.settings = self._with_ports(settings, public.port, admin.port)
            yield public, admin

    @staticmethod
    def _with_ports(settings: Settings, port: int, admin_port: int) -> Settings:
        return dataclasses.replace(settings, port=port, admin_port=admin_port)

    # The supervisor's own work.

    async def _serve(
        self, public: Listeners, admin: Listeners, stop: asyncio.Event, abort: asyncio.Event
    ) -> None:
        snapshot = await asyncio.to_thread(self._catalog.snapshot)
        self._refuse_unknown_models(snapshot)  # before anything is started
        fronts = self._fronts = self._start_fronts(public, admin)
        try:
            self._start_decoder()
            acts = {"restart": self.restart, "reload": self.reload}
            async with taking_orders(self.premises.sockets, acts):
                while not (stop.is_set() or abort.is_set()):
                    await self._attempt(self._look_after_everything())
                    await _any_of(stop, abort, self._wake, within=self._look_seconds)
        finally:
            await self._stop(fronts, abort)

    async def restart(self, say: Say) -> None:
        """Replaces all coordinators, one after another; nobody is refused.

        Raises:
            Refused: those of before serve on.
        """
        await self._roll(self.settings, say)

    async def reload(self, say: Say) -> None:
        """Reads the settings again and takes all of them over, or none.

        Raises:
            Refused: the platform goes on with those of before.
        """
        try:
            read = self._reread()
            _read_secrets(read)
            names = changed(self._as_read, read)
        except (InvalidSettings, NotReloaded) as error:
            raise Refused(str(error)) from error
        if not names:
            say("no setting has changed; `demitasse restart` has files with secrets read again")
            return
        now = self.settings
        await self._roll(self._with_ports(read, now.port, now.admin_port), say)
        self._as_read = read
        say(f"in force now: {', '.join(names)}")

    async def _roll(self, settings: Settings, say: Say) -> None:
        if self._fronts is None:
            raise Refused("the platform is only just starting")
        try:
            await self._fronts.roll(settings, say)
        except NotRolled as error:
            raise Refused(str(error)) from error
        finally:  # whoever asked for it looks next at what runs
            with contextlib.suppress(OSError):
                self._write_status()
        self.settings = settings

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> None:
        """Where it fails (the disk is full, the database away) that is shown, and all goes on."""
        trouble = ""
        try:
            await work
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}".partition("\n")[0]
        if trouble != self._trouble:
            self._trouble = trouble
            self.changed()

    async def _look_after_everything(self) -> None:
        self._wake.clear()
        await asyncio.to_thread(self.premises.orphans.end_adopted)
        await self._keep_leases()
        await self._follow_registry(await asyncio.to_thread(self._catalog.snapshot))
        self._write_status()

    async def _look_after_the_last(self) -> None:
        await self._keep_leases()
        self._write_status()

    async def _take_back(self) -> None:
        forget_status(self.settings.home)
        await self._leases.drop_all()

    async def _keep_leases(self) -> None:
        living = [minion.id for minion in self._minions.values() if minion.pid is not None]
        await self._leases.keep(living, self.settings.lease_ttl)

    async def _follow_registry(self, snapshot: Snapshot) -> None:
        """Starts minions for what should be served and is not, and stops the others."""
        wanted = self._wanted(snapshot)
        for key, (entry, version) in wanted.items():
            if key not in self._minions:
                self._minions[key] = Minion(self, *key)
                self._minions[key].start(partial(self._prepare, entry=entry, version=version))
                self.changed()
        for key in [key for key in self._minions if key not in wanted and key[0] != DECODER]:
            await self._leases.drop(self._minions[key].id)
            self._retire(self._minions.pop(key))
        minions = (*self._minions.values(), *self._retired.values())
        await self._templates.keep({minion.template for minion in minions})

    def _retire(self, minion: Minion) -> None:
        stopping = asyncio.create_task(minion.stop())
        self._retired[stopping] = minion
        stopping.add_done_callback(self._retired.pop)
        self.changed()

    def _wanted(self, snapshot: Snapshot) -> dict[Key, tuple[ModelEntry, Version]]:
        return {
            (version.model, version.version): (snapshot.models[version.model], version)
            for version in served(snapshot, self._models)
        }

    def _refuse_unknown_models(self, snapshot: Snapshot) -> None:
        for reference in self._models:
            try:
                resolve(snapshot, reference)
            except DemitasseError as error:
                raise DeploymentError(f"--models: {error.detail}") from error

    async def _prepare(self, minion: Minion, entry: ModelEntry, version: Version) -> ServiceSpec:
        """Has the environment built where it is missing, and says what the host should serve."""
        wanted = version.manifest.environment
        async with self._building:
            python = await build(
                self.settings.home / "envs",
                wanted.python,
                version.directory / wanted.requirements if wanted.requirements else None,
                log=self.premises.log_path(minion.id),
                progress=lambda line: minion.set_state("building", line),
            )
        minion.template = await asyncio.to_thread(template_key, version, python=python)
        template = minion.template and self._templates.socket(minion.template)
        return model_service(entry, version, replica=minion.id, python=python, template=template)

    def _start_decoder(self) -> None:
        minion = self._minions[DECODER, DECODER_VERSION] = Minion(self, DECODER, DECODER_VERSION)
        spec = decoder_service(self.settings, replica=minion.id)
        minion.start(lambda _: asyncio.sleep(0, spec))

    def _start_fronts(self, public: Listeners, admin: Listeners) -> Fronts:
        return Fronts(
            self.settings,
            public,
            admin,
            log=self.premises.log_path,
            siblings=self.premises.sockets,
            metrics=self.premises.run_folder / "metrics",
            only=self._models,
            changed=self.changed,
        )

    async def _stop(self, fronts: Fronts, abort: asyncio.Event) -> None:
        """The door first, then those behind it; at once where abort is set."""
        draining = asyncio.create_task(self._drain(fronts))
        aborted = asyncio.create_task(abort.wait())
        waited = {draining, aborted}
        while draining in waited:
            done, waited = await asyncio.wait(
                waited, timeout=self._look_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if aborted in done:
                self._kill_everything()
            # Those that drain are alive: requests in progress are on their way there.
            await self._attempt(self._look_after_the_last())
        aborted.cancel()
        await draining
        # What cannot be taken back lapses: a lease soon, and the status with this process.
        await self._attempt(self._take_back())

    async def _drain(self, fronts: Fronts) -> None:
        self.finished = await fronts.stop()
        await asyncio.gather(*(minion.stop() for minion in self._minions.values()), *self._retired)
        await self._templates.keep([])
        await self._end_orphans()

    async def _end_orphans(self) -> None:
        """Ends what was killed hosts' and templates', one generation after another."""
        for _ in range(_GENERATIONS):
            if not self.premises.orphans.end_adopted():
                return
            await asyncio.sleep(_ENDING_SECONDS)

    def _kill_everything(self) -> None:
        if self._fronts is not None:
            self._fronts.kill()
        for minion in (*self._minions.values(), *self._retired.values()):
            minion.kill()
        self._templates.kill()

    def _write_status(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        settings = self.settings
        write_status(
            settings.home,
            Status(
                True,
                self.url,
                f"http://{address(settings.admin_host, settings.admin_port)}",
                self.processes(),
            ),
        )


def _read_secrets(settings: Settings) -> None:
    """Raises InvalidSettings where a file with a secret is missing or wrong."""
    link_credentials(settings)
    admin_key(settings)


async def _any_of(*events: asyncio.Event, within: float) -> None:
    """Waits until one of them is set, or the time is over."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
