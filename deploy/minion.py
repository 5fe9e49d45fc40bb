"""One replica as its supervisor sees it: environment, host process, what is known of it.

Prepares once, keeps the host running, and asks it now and then how it is. What
should run, and where, is decided by the deployment.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp
import msgspec

from coordinator.config import Settings
from deploy.building import NotBuilt
from deploy.child import Child
from deploy.machine import cores
from deploy.premises import Premises
from deploy.silence import Silence
from deploy.templates import TemplateKey
from minion.host.spec import ServiceSpec, write_spec
from minion.host.temporary import remove_folder
from model_registry.leases import Replica

#: How often a host is asked how it is, as long as it is not ready, or has just not answered.
WATCH_SECONDS = 0.25
#: And then: each question costs both sides a quarter of a millisecond, of every model there is.
CALM_SECONDS = 1.0
_ANSWER_SECONDS = 1.0


class Site(Protocol):
    """What a replica needs of the deployment that it is part of."""

    settings: Settings
    premises: Premises

    def changed(self) -> None:
        """What is known of the replica is not what it was."""

    def lease(self, replica: Replica) -> None:
        """The replica was just started: coordinators should connect to it."""


class Minion:
    """One replica of one version: its environment, its host process, what is known of it."""

    def __init__(self, site: Site, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.id = f"{model}-{version}-0"
        self.state = "waiting"
        self.detail = ""
        self.workers: list[tuple[int | None, str]] = []
        self.last_lines: list[str] = []
        """What the worker printed that ended last, where workers do not stay."""
        self.template: TemplateKey | None = None
        self._site = site
        # An epoch grows with every start, also across restarts of the supervisor. Its first
        # one is in the socket's name: a predecessor may still drain behind its own.
        self._first_epoch = int(time.time() * 1000)
        self._socket = site.premises.socket_path(f"{self.id}-{self._first_epoch}")
        self._temporary = site.premises.temporary_path(f"{self.id}-{self._first_epoch}")
        self._silence = Silence(time.monotonic())
        self._grace_seconds = 0.0  # as its host was told, whatever is configured since
        self._stopping = False
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self._socket}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self, prepare: Callable[[Minion], Awaitable[ServiceSpec]]) -> None:
        """Prepares (an environment may have to be built), then keeps the host up."""
        self._task = asyncio.get_running_loop().create_task(self._live(prepare))

    async def stop(self) -> None:
        """Ends the preparation at once, and the host when it has drained."""
        self._stopping = True
        self.set_state("draining")
        if self._child is not None:
            await self._child.stop(self._grace_seconds + 1.0)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._socket.unlink(missing_ok=True)
        await asyncio.to_thread(remove_folder, self._temporary)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def set_state(self, state: str, detail: str = "") -> None:
        if (state, detail) != (self.state, self.detail):
            self.state, self.detail = state, detail
            self._site.changed()

    async def watch(self, client: aiohttp.ClientSession) -> None:
        """Asks the host how it is; one that hangs is ended, and so started again."""
        asked = self.pid
        if asked is None:
            return
        try:
            async with client.get("http://minion/status") as reply:
                answer = await reply.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            if self.pid == asked:
                self._miss()
            return
        self._silence.heard(time.monotonic())
        workers = [(each["pid"], each["state"]) for each in answer["workers"]]
        if workers != self.workers:
            self.workers = workers
            self._site.changed()
        if self._stopping:
            return
        self.last_lines = [] if answer["ready"] else answer["last_lines"]
        if answer["ready"]:
            self.set_state("ready")
        elif answer["failed"]:
            self.set_state("failed", answer["last_failure"])
        elif answer["last_failure"]:
            self.set_state("failing", answer["last_failure"])
        else:
            self.set_state("loading")

    def _miss(self) -> None:
        if not self._silence.missed(time.monotonic()) or self._stopping:
            return  # one that drains is ended when its grace is over
        self.set_state("hung", "it does not answer; ended, to be started again")
        assert self._child is not None
        self._child.restart()

    def client(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._socket)),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        )

    async def _live(self, prepare: Callable[[Minion], Awaitable[ServiceSpec]]) -> None:
        try:
            spec = await prepare(self)
        except NotBuilt as error:
            self.set_state("failed", str(error))
            return
        site = self._site
        self._child = Child(
            lambda starts: self._command(spec, starts),
            log=site.premises.log_path(self.id),
            environment=os.environ,
            on_start=self._on_start,
            on_end=self._on_end,
        )
        async with self.client() as client:
            watching = asyncio.create_task(self._watch_for_ever(client))
            try:
                await self._child.keep()
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    def _command(self, spec: ServiceSpec, starts: int) -> list[str]:
        site = self._site
        file = site.premises.run_folder / f"{self.id}.json"
        started = msgspec.structs.replace(
            spec,
            epoch=self._first_epoch + starts,
            temporary=str(self._temporary),
            starts=site.settings.worker_starts or cores(),
            starts_folder=str(site.premises.run_folder / "starts"),
        )
        write_spec(started, file)
        self._grace_seconds = site.settings.drain_grace
        return [
            sys.executable, "-P", "-m", "minion.host", "--spec", str(file),
            "--address", self.address, "--parent-pid", str(os.getpid()),
            "--grace", str(self._grace_seconds),
            "--log-level", site.settings.log_level,
        ]  # fmt: skip

    def _on_start(self, starts: int, pid: int) -> None:
        self._silence = Silence(time.monotonic())
        if not self._stopping:
            self.set_state("starting")
        epoch = self._first_epoch + starts
        self._site.lease(Replica(self.id, self.model, self.version, self.address, epoch, pid))

    def _on_end(self, ending: str) -> None:
        self.workers = []
        self.set_state("restarting", ending)

    async def _watch_for_ever(self, client: aiohttp.ClientSession) -> None:
        while True:
            await self.watch(client)
            calm = self.state == "ready" and not self._silence.misses
            await asyncio.sleep(CALM_SECONDS if calm else WATCH_SECONDS)
