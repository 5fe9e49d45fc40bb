"""One template for each environment in use: a process whose forks are workers.

Minions of one environment share it, whatever package they serve. It costs what
its framework, or numpy alone, takes, and most of that is shared with the workers that
come from it. It goes when no minion of its environment is left, and one of numpy alone,
which saves least, when there is no room for a framework's. A deployment without a
template for somebody lacks nothing: workers are then started plainly.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, Protocol

from deploy.child import Child
from deploy.premises import Premises
from deploy.status import ProcessInfo
from minion.host.environment import worker_environment
from minion.host.restarts import describe_ending
from wire.forks import UNFIT_STATUS

_UNFIT = describe_ending(UNFIT_STATUS)


class TemplateKey(NamedTuple):
    """What workers must have in common to come from one template."""

    python: str
    modules: tuple[str, ...]


class Site(Protocol):
    """What templates need of the deployment that they are part of."""

    premises: Premises

    def changed(self) -> None:
        """What is known of one is not what it was."""


class Templates:
    """Those of this machine, at most so many."""

    def __init__(self, site: Site, limit: int) -> None:
        self._site = site
        self._limit = limit
        self._templates: dict[TemplateKey, _Template] = {}
        self._ending: list[_Template] = []

    def socket(self, key: TemplateKey) -> str | None:
        """Where to ask for a worker; None where there shall be no templates.

        Whoever asks at once waits for its imports, which began with this call. Where
        there is no room for another template, nobody listens there until there is.
        """
        if not self._limit:
            return None
        self._start(key)
        return str(_socket(self._site, key))

    async def keep(self, keys: Collection[TemplateKey | None]) -> None:
        """Ends all others; the workers that came from them live on.

        Of these keys, those for which there was no room have theirs now, if it suffices.
        """
        for gone in [key for key in self._templates if key not in keys]:
            self._end(gone)
        ending, self._ending = self._ending, []
        await asyncio.gather(*(template.stop() for template in ending))
        for key in keys:
            if key is not None:
                self._start(key)

    def _start(self, key: TemplateKey) -> None:
        if key in self._templates:
            return
        if self._is_full() and key.modules:
            self._make_room()
        if not self._is_full():
            self._templates[key] = _Template(self._site, key)
            self._site.changed()

    def _is_full(self) -> bool:
        return sum(not each.failed for each in self._templates.values()) >= self._limit

    def _make_room(self) -> None:
        light = next((key for key in self._templates if not key.modules), None)
        if light is not None:
            self._end(light)

    def _end(self, key: TemplateKey) -> None:
        template = self._templates.pop(key)
        template.kill()
        self._ending.append(template)
        self._site.changed()

    def kill(self) -> None:
        for template in (*self._templates.values(), *self._ending):
            template.kill()

    def processes(self) -> list[ProcessInfo]:
        return [template.info() for template in self._templates.values()]


def _name(key: TemplateKey) -> str:
    return f"template-{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}"


def _socket(site: Site, key: TemplateKey) -> Path:
    """The same for every template of this key: hosts are told once, and may have to wait for it."""
    return site.premises.socket_path(_name(key))


class _Template:
    """One, kept running unless it says that it cannot be one."""

    def __init__(self, site: Site, key: TemplateKey) -> None:
        self._modules = key.modules
        self._state, self._detail = "starting", ""
        self._changed: Callable[[], None] = site.changed
        self._child = Child(
            lambda starts: [
                *(key.python, "-I", "-u", "-m", "minion.worker.template"),
                *("--socket", str(_socket(site, key)), "--parent-pid", str(os.getpid())),
                *key.modules,
            ],
            log=site.premises.log_path(_name(key)),
            environment=worker_environment(os.environ, threads=1),
            on_start=lambda starts, pid: self._set("running"),
            on_end=self._on_end,
        )
        self._keeping = asyncio.create_task(self._child.keep())

    async def stop(self) -> None:
        # Its socket stays, since its successor may listen there already; it refuses.
        self.kill()
        await asyncio.wait([self._keeping])

    def kill(self) -> None:
        self._child.kill()  # it has nothing to finish

    @property
    def failed(self) -> bool:
        """Whether it can never be one: there is no process, and will be none."""
        return self._state == "failed"

    def info(self) -> ProcessInfo:
        imported = ", ".join(self._modules) or "numpy"
        detail = f"{imported}: {self._detail}" if self._detail else imported
        return ProcessInfo("template", None, None, self._child.pid, None, self._state, detail)

    def _on_end(self, ending: str) -> None:
        if ending == _UNFIT:
            self._child.kill()
            self._set("failed", "workers are started plainly; its log says why")
        else:
            self._set("restarting", ending)

    def _set(self, state: str, detail: str = "") -> None:
        self._state, self._detail = state, detail
        self._changed()
