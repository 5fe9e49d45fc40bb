"""One place behind the public port: the coordinator that has it, and how another takes over.

The successor is started beside it, on the same sockets, and takes connections
when it is ready. Only then is the predecessor told to go. One that is not ready
in time is ended, and nobody has noticed it. Who leaves first is decided in
`fronts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from deploy.coordinator import Coordinator, Post, Terms


class NotReplaced(Exception):
    """The successor was not ready in time, and the predecessor stays; the text says why."""


class Slot:
    """One of as many as there are coordinators."""

    def __init__(self, post: Post, terms: Terms) -> None:
        self._post = post
        self._incumbent = Coordinator(post, terms)
        self._coming: Coordinator | None = None
        self._leaving: dict[asyncio.Task[None], Coordinator] = {}

    @property
    def incumbent(self) -> Coordinator:
        return self._incumbent

    def others(self) -> list[Coordinator]:
        """Who comes in its place, and those in whose place it came that have not gone yet."""
        coming = [] if self._coming is None else [self._coming]
        shown = (self._incumbent, *coming)
        return [*coming, *(each for each in self._leaving.values() if each not in shown)]

    async def prepare(self, terms: Terms, ready_seconds: float) -> None:
        """Returns when a successor takes connections, too.

        Raises:
            NotReplaced: it was not ready in time, and is gone.
        """
        self._coming = Coordinator(self._post, terms, successor=True)
        why = ""
        try:
            why = await self._coming.ready(ready_seconds)
        finally:
            if not self._coming.is_ready:
                await self._coming.end()
                self._coming = None
        if why:
            raise NotReplaced(why)

    @property
    def is_prepared(self) -> bool:
        """Whether a successor takes connections, still."""
        return self._coming is not None and self._coming.is_ready

    async def take_over(self) -> bool:
        """The successor stays. Returns when the predecessor has gone: whether it has finished
        what it had."""
        assert self._coming is not None
        leaving, self._incumbent, self._coming = self._incumbent, self._coming, None
        self._incumbent.take_over(leaving)
        return await self._dismissed(leaving)

    async def call_off(self) -> None:
        """The successor goes, if there is one, when it has answered what was asked."""
        coming, self._coming = self._coming, None
        if coming is not None:
            await self._dismissed(coming)

    async def _dismissed(self, who: Coordinator) -> bool:
        await asyncio.shield(self._leave(who, who.hand_over()))
        return not who.left_unfinished

    async def stop(self) -> bool:
        """All go when they have answered what was asked; whether they finished it."""
        for each in (self._incumbent, self._coming):
            if each is not None:
                self._leave(each, each.stop())
        leaving = dict(self._leaving)
        await asyncio.wait(leaving)
        return not any(each.left_unfinished for each in leaving.values())

    def kill(self) -> None:
        for each in (self._incumbent, *self.others()):
            each.kill()

    def _leave(self, who: Coordinator, going: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(going)
        self._leaving[task] = who

        def gone(task: asyncio.Task[None]) -> None:
            del self._leaving[task]
            self._post.changed()

        task.add_done_callback(gone)
        return task
