"""All coordinators of this machine: their sockets, and how they are replaced together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coordinator.config import SETTINGS, Settings
from coordinator.config_checks import ENVIRONMENT_PREFIX
from deploy.coordinator import Post, Terms
from deploy.listeners import Listeners
from deploy.machine import address
from deploy.slot import NotReplaced, Slot
from deploy.status import ProcessInfo

#: For a successor to import, to connect and to be ready where its predecessor is.
READY_SECONDS = 30.0
_STOPPED = "the platform is being stopped"


class NotRolled(Exception):
    """The coordinators of before serve on; the text says why."""


class Fronts:
    """As many coordinators as the settings ask for, on one port."""

    def __init__(
        self,
        settings: Settings,
        public: Listeners,
        admin: Listeners,
        *,
        log: Callable[[str], Path],
        siblings: Path,
        metrics: Path,
        only: Sequence[str],
        changed: Callable[[], None],
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        """
        Args:
            log: the file of a process of this name.
            siblings: a folder for the sockets over which they ask each other.
            metrics: a folder for what they count together.
            only: references to what is served; empty: all that the registry says is.
            ready_seconds: for a successor to be ready.
        """
        self._settings = settings
        self._public, self._admin = public, admin
        self._metrics = metrics if settings.processes > 1 else None
        self._siblings = siblings if settings.processes > 1 else None
        self._only = only
        self._ready_seconds = ready_seconds
        self._rolling: asyncio.Task[None] | None = None
        self._stopping = False
        self._clear_metrics()
        terms = self._terms(settings)
        self._slots = [
            Slot(Post(log(f"coordinator-{number}"), *self._words(number), changed), terms)
            for number in range(settings.processes)
        ]

    def processes(self) -> list[ProcessInfo]:
        where = address(self._settings.host, self._settings.port)
        incumbents = [slot.incumbent for slot in self._slots]
        others = [each for slot in self._slots for each in slot.others()]
        return [
            ProcessInfo("coordinator", None, None, each.pid, where, each.state, each.detail)
            for each in (*incumbents, *others)
        ]

    async def roll(self, settings: Settings, say: Callable[[str], None]) -> None:
        """Replaces all of them, or none; nobody is refused meanwhile.

        Args:
            settings: what the successors are started with.
            say: told of each that has been replaced.

        Raises:
            NotRolled: one was not ready in time, and those of before serve on; or all are
                being stopped.
        """
        if self._stopping:
            raise NotRolled(_STOPPED)
        if self._rolling is not None and not self._rolling.done():
            raise NotRolled("they are being replaced already")
        rolling = asyncio.get_running_loop().create_task(self._roll(settings, say))
        self._rolling = rolling
        try:
            await asyncio.wait([rolling])
        finally:
            rolling.cancel()
        if rolling.cancelled():
            raise NotRolled(_STOPPED)
        rolling.result()
        self._settings = settings

    async def _roll(self, settings: Settings, say: Callable[[str], None]) -> None:
        """All successors are there before the first predecessor goes, and so until then all of it
        can be called off."""
        terms = self._terms(settings)
        try:
            await self._prepare(terms)
        except Exception:  # where it is cancelled, `stop` ends them
            await asyncio.gather(*(each.call_off() for each in self._slots))
            raise
        for number, slot in enumerate(self._slots):
            finished = await slot.take_over()
            late = "" if finished else "; requests were cut off when its grace was over"
            say(f"coordinator {number} is replaced{late}")

    async def _prepare(self, terms: Terms) -> None:
        """Raises NotRolled; then some successors may be there, and others not."""
        for number, slot in enumerate(self._slots):
            whose = f"the successor of coordinator {number}"
            try:
                await slot.prepare(terms, self._ready_seconds)
            except NotReplaced as error:
                raise NotRolled(f"{whose} was not ready in time: {error}") from error
            except OSError as error:
                raise NotRolled(f"{whose} could not be started: {error.strerror}") from error
        for number, slot in enumerate(self._slots):
            if not slot.is_prepared:
                raise NotRolled(
                    f"the successor of coordinator {number} was ready, and ended; its log says why"
                )

    async def stop(self) -> bool:
        """All go when they have answered what was asked, and nobody can connect any more; whether
        they finished it."""
        self._stopping = True
        if self._rolling is not None:  # before the sockets go that a successor would be given
            self._rolling.cancel()
            await asyncio.wait([self._rolling])
        self._public.close()
        self._admin.close()
        return all(await asyncio.gather(*(slot.stop() for slot in self._slots)))

    def kill(self) -> None:
        for slot in self._slots:
            slot.kill()

    def _words(self, slot: int) -> tuple[list[str], list[int]]:
        """What the coordinators of a slot are told, and the descriptors that this speaks of."""
        handed = {
            "--public": self._public.own(slot),
            "--admin": self._admin.own(slot),
            "--public-neighbours": self._public.neighbours(slot),
            "--admin-neighbours": self._admin.neighbours(slot),
        }
        words = [f"{flag}={','.join(map(str, numbers))}" for flag, numbers in handed.items()]
        if self._siblings is not None:
            words.append(f"--siblings={self._siblings}")
        words += [f"--only={reference}" for reference in self._only]
        return words, [each for numbers in handed.values() for each in numbers]

    def _terms(self, settings: Settings) -> Terms:
        return Terms(self._environment(settings), settings.lame_duck, settings.drain_grace)

    def _environment(self, settings: Settings) -> Mapping[str, str]:
        environment = dict(os.environ)
        # The file may have been changed since it was read, and need not be valid any more.
        environment.pop(f"{ENVIRONMENT_PREFIX}CONFIG", None)
        for setting in SETTINGS.values():
            environment[setting.variable] = str(getattr(settings, setting.name))
        if self._metrics is not None:
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(self._metrics)
        return environment

    def _clear_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.mkdir(exist_ok=True)
            for old in self._metrics.glob("*.db"):
                old.unlink()
