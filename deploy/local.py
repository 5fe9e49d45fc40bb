"""Everything on this machine: coordinators, the image tier, one minion per served version.

The supervisor of `demitasse up`. It builds environments, starts processes,
starts them again when they end, and keeps the minions' leases. It carries no
request: when it is slow, nobody waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coordinator.analysis import DECODER, DECODER_INPUT, DECODER_VERSION
from coordinator.config import SETTINGS, Settings
from coordinator.errors import DemitasseError
from coordinator.router import resolve
from deploy.child import Child
from deploy.minion import Minion, describe_ending
from deploy.status import (
    LOCK_FILE,
    ProcessInfo,
    Status,
    read_status,
    run_folder,
    write_status,
)
from envs.builder import Environment, EnvironmentStore
from envs.spec import resolve as resolve_environment
from minion.host.spec import InputSpec, ServiceSpec
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases, Replica
from model_registry.snapshot import ModelEntry, Snapshot, Version
from storage.engine import migrate, open_engine

__all__ = ["DeploymentError", "LocalDeployment", "ProcessInfo", "Status", "read_status"]

#: How often the registry is asked what should run, and leases are renewed.
WATCH_SECONDS = 0.5
#: Photos that may wait for the decoders; each costs tens of milliseconds.
DECODER_QUEUE_LIMIT = 256
#: sockaddr_un has 108 bytes; a socket's name takes 22 of them.
MAX_SOCKET_FOLDER = 80


class DeploymentError(Exception):
    """Nothing was started; the text says why, where, and what to do."""


class LocalDeployment:
    """The whole platform on this machine."""

    def __init__(
        self,
        settings: Settings,
        *,
        models: Sequence[str] = (),
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            models: references such as `tagger` or `tagger@1.0.0`; empty: every version
                that the registry says is served.
            on_change: called whenever `processes` would answer something new.
        """
        self.settings = settings
        self._building = asyncio.Semaphore(2)  # more would only share the same network and cores
        self.run_folder = run_folder(settings.home)
        self._models = models
        self._on_change = on_change
        self._engine = open_engine(settings.registry_url)
        self._catalog = Catalog(self._engine, ArtifactStore(settings.home / "artifacts"))
        self._leases = Leases(self._engine)
        self._environments = EnvironmentStore(settings.home / "envs")
        self._coordinators: list[tuple[Child, list[str]]] = []
        self._minions: dict[tuple[str, str], Minion] = {}
        self._leased: dict[str, Replica] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets = _socket_folder(self.run_folder)
        self._dirty = False

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        """Runs until `stop` is set and everything has drained, or `abort` is.

        Raises:
            DeploymentError: a port or the home is in use, or a model is unknown.
        """
        self._loop = asyncio.get_running_loop()
        lock = self._lock()
        try:
            _require_free(self.settings.host, self.settings.port, "--port")
            _require_free(self.settings.admin_host, self.settings.admin_port, "--admin-port")
            await asyncio.to_thread(migrate, self._engine)
            snapshot = await asyncio.to_thread(self._catalog.snapshot)
            self._wanted(snapshot)  # an unknown model is said before anything is started
            self._start_coordinators()
            self._start_decoder()
            await self._follow_registry(snapshot)
            await self._until(stop, abort)
            await self._stop(abort)
        finally:
            self._engine.dispose()
            lock.release()

    def processes(self) -> list[ProcessInfo]:
        """Every process, the supervisor first, workers behind their minion."""
        url = f"{self.settings.host}:{self.settings.port}"
        infos = [ProcessInfo("supervisor", None, None, os.getpid(), None, "running", "")]
        for child, state in self._coordinators:
            infos.append(ProcessInfo("coordinator", None, None, child.pid, url, *state))
        for minion in self._minions.values():
            role = DECODER if minion.model == DECODER else "minion"
            key = (minion.model, minion.version)
            infos.append(
                ProcessInfo(role, *key, minion.pid, minion.address, minion.state, minion.detail)
            )
            infos += [
                ProcessInfo("worker", *key, pid, None, state, "") for pid, state in minion.workers
            ]
        return infos

    # What minions need of their deployment.

    def changed(self) -> None:
        self._dirty = True
        self._on_change()

    def lease(self, replica: Replica) -> None:
        self._leased[replica.id] = replica
        self._background(asyncio.to_thread(self._leases.put, replica, ttl=self.settings.lease_ttl))

    def socket_path(self, id: str) -> Path:
        # The path must fit into sockaddr_un, whatever the model is called.
        return self._sockets / f"{hashlib.sha256(id.encode()).hexdigest()[:16]}.sock"

    def log_path(self, id: str) -> Path:
        folder = self.settings.home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{id}.log"

    # The supervisor's own work.

    def _lock(self) -> FileLock:
        lock = FileLock(self.run_folder / LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise DeploymentError(
                f"{self.settings.home} is in use by another `demitasse up`; "
                "stop that one, or choose another --home"
            ) from None
        return lock

    async def _until(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        asked = [asyncio.create_task(event.wait()) for event in (stop, abort)]
        try:
            while not (stop.is_set() or abort.is_set()):
                await asyncio.wait(
                    asked, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                await self._renew()
                await self._follow_registry(await asyncio.to_thread(self._catalog.snapshot))
                self._write_status()
        finally:
            for task in asked:
                task.cancel()

    async def _renew(self) -> None:
        alive = {
            minion.id: self._leased[minion.id]
            for minion in self._minions.values()
            if minion.pid is not None and minion.id in self._leased
        }
        ttl = self.settings.lease_ttl
        ended = await asyncio.to_thread(self._leases.renew, list(alive), ttl=ttl)
        for id in ended:
            await asyncio.to_thread(self._leases.put, alive[id], ttl=ttl)

    async def _follow_registry(self, snapshot: Snapshot) -> None:
        """Starts minions for what should be served and is not, and stops the others."""
        wanted = self._wanted(snapshot)
        for key, (entry, version) in wanted.items():
            if key not in self._minions:
                self._minions[key] = Minion(self, *key)
                self._minions[key].start(partial(self._prepare, entry=entry, version=version))
                self.changed()
        for key in [key for key in self._minions if key not in wanted and key[0] != DECODER]:
            minion = self._minions.pop(key)
            await asyncio.to_thread(self._leases.drop, [minion.id])
            self._background(minion.stop(self.settings.drain_grace))
            self.changed()

    def _wanted(self, snapshot: Snapshot) -> dict[tuple[str, str], tuple[ModelEntry, Version]]:
        if not self._models:
            versions = [
                version
                for entry in snapshot.models.values()
                for version in entry.versions.values()
                if version.serving
            ]
        else:
            try:
                versions = [resolve(snapshot, reference) for reference in self._models]
            except DemitasseError as error:
                raise DeploymentError(f"--models: {error.detail}") from error
        return {
            (version.model, version.version): (snapshot.models[version.model], version)
            for version in versions
        }

    async def _prepare(self, minion: Minion, entry: ModelEntry, version: Version) -> ServiceSpec:
        """Builds the environment where it is missing, and says what the host should serve."""
        async with self._building:
            environment = await asyncio.to_thread(self._environment, minion, version)
        manifest = version.manifest
        settings = entry.settings_for(version.version)
        return ServiceSpec(
            model=version.model,
            version=version.version,
            replica=minion.id,
            epoch=0,
            python=str(environment.python),
            directory=str(version.directory),
            entry=manifest.entry,
            inputs={
                name: InputSpec(spec.dtype, spec.shape) for name, spec in manifest.inputs.items()
            },
            queue_limit=settings.queue_limit,
            max_batch_size=settings.max_batch_size,
            max_queue_delay_seconds=settings.max_queue_delay,
            settings_revision=settings.revision,
            workers=manifest.resources.workers,
            threads=manifest.resources.threads,
            load_timeout_seconds=manifest.resources.load_timeout,
            predict_timeout_seconds=manifest.resources.predict_timeout,
            options=dict(manifest.options),
        )

    def _environment(self, minion: Minion, version: Version) -> Environment:
        """The version's environment, built now if need be. Called in a thread."""
        manifest = version.manifest
        requirements = manifest.environment.requirements

        def progress(line: str) -> None:
            self._loop.call_soon_threadsafe(minion.set_state, "building", line)

        return self._environments.ensure(
            resolve_environment(
                manifest.environment.python,
                (version.directory / requirements).read_text() if requirements else None,
            ),
            progress=progress,
        )

    def _start_decoder(self) -> None:
        settings = self.settings
        minion = self._minions[DECODER, DECODER_VERSION] = Minion(self, DECODER, DECODER_VERSION)
        spec = ServiceSpec(
            model=DECODER,
            version=DECODER_VERSION,
            replica=minion.id,
            epoch=0,
            python=sys.executable,
            directory=str(settings.home),
            entry="preprocess.model:Decoder",
            inputs={DECODER_INPUT: InputSpec("uint8", (-1,))},
            queue_limit=DECODER_QUEUE_LIMIT,
            max_batch_size=1,
            max_queue_delay_seconds=0.0,
            workers=settings.decoder_workers or os.cpu_count() or 1,
            predict_timeout_seconds=settings.decode_timeout,
            options={"max_pixels": settings.max_image_pixels},
        )
        minion.start(lambda _: asyncio.sleep(0, spec))

    def _start_coordinators(self) -> None:
        environment = self._coordinator_environment()
        for number in range(self.settings.processes):
            state = ["starting", ""]

            def on_start(starts: int, pid: int, state: list[str] = state) -> None:
                state[:] = ["running", ""]
                self.changed()

            def on_end(status: int, state: list[str] = state) -> None:
                state[:] = ["restarting", describe_ending(status)]
                self.changed()

            child = Child(
                lambda starts: [sys.executable, "-m", "coordinator", "--die-with-parent"],
                log=self.log_path(f"coordinator-{number}"),
                environment=environment,
                on_start=on_start,
                on_end=on_end,
            )
            self._coordinators.append((child, state))
            self._background(child.keep())

    def _coordinator_environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        for setting in SETTINGS.values():
            environment[setting.variable] = str(getattr(self.settings, setting.name))
        if self.settings.processes > 1:
            folder = self.run_folder / "metrics"
            folder.mkdir(exist_ok=True)
            for old in folder.glob("*.db"):
                old.unlink()
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        return environment

    async def _stop(self, abort: asyncio.Event) -> None:
        """The door first, then those behind it; at once where abort is set."""
        self.changed()
        draining = asyncio.create_task(self._drain())
        aborted = asyncio.create_task(abort.wait())
        await asyncio.wait([draining, aborted], return_when=asyncio.FIRST_COMPLETED)
        if abort.is_set():
            for child, _ in self._coordinators:
                child.kill()
            for minion in self._minions.values():
                minion.kill()
        await draining
        aborted.cancel()
        await asyncio.to_thread(self._leases.drop, list(self._leased))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        (self.run_folder / "status.json").unlink(missing_ok=True)

    async def _drain(self) -> None:
        grace = self.settings.drain_grace
        for _, state in self._coordinators:
            state[:] = ["draining", ""]
        self.changed()
        await asyncio.gather(*(child.stop(grace + 1.0) for child, _ in self._coordinators))
        await asyncio.gather(*(minion.stop(grace) for minion in self._minions.values()))

    def _write_status(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        settings = self.settings
        write_status(
            settings.home,
            Status(
                True,
                f"http://{settings.host}:{settings.port}",
                f"http://{settings.admin_host}:{settings.admin_port}",
                self.processes(),
            ),
        )

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _require_free(host: str, port: int, flag: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DeploymentError(
                f"{host}:{port} cannot be listened on: {error.strerror}; choose another {flag}"
            ) from error


def _socket_folder(run: Path) -> Path:
    """The run folder, or a short-named stand-in where its path is too long for sockets."""
    if len(os.fsencode(run)) <= MAX_SOCKET_FOLDER:
        return run
    name = hashlib.sha256(str(run).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"demitasse-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
