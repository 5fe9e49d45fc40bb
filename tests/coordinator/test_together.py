"""coordinator/together.py: several at once, until all are done or what is done is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from coordinator.together import together
from tests.waiting import eventually


class Parts:
    """Computations that end when they are told to."""

    def __init__(self, *keys: str) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self._told = {key: asyncio.get_running_loop().create_future() for key in keys}

    def all(self) -> dict[str, Coroutine[Any, Any, str]]:
        return {key: self._part(key) for key in self._told}

    def end(self, key: str) -> None:
        self._told[key].set_result(key.upper())

    def fail(self, key: str) -> None:
        self._told[key].set_exception(ZeroDivisionError())

    async def _part(self, key: str) -> str:
        self.begun.append(key)
        try:
            return str(await self._told[key])
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise


async def test_the_results_stand_in_the_order_of_the_parts() -> None:
    parts = Parts("a", "b", "c")
    for key in "cab":
        parts.end(key)

    done = await together(parts.all())

    assert list(done.items()) == [("a", "A"), ("b", "B"), ("c", "C")]


async def test_one_alone_is_no_task() -> None:
    async def current() -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    assert await together({"a": current()}) == {"a": asyncio.current_task()}


async def test_once_it_is_enough_the_others_are_cancelled_and_missing() -> None:
    parts = Parts("a", "b", "c")
    parts.end("b")

    done = await together(parts.all(), lambda done: "b" in done)

    assert done == {"b": "B"}
    assert parts.cancelled == ["a", "c"]


async def test_what_is_not_enough_is_waited_on() -> None:
    parts = Parts("a", "b", "c")
    waiting = asyncio.create_task(together(parts.all(), lambda done: len(done) == 2))
    parts.end("a")
    for _ in range(10):
        await asyncio.sleep(0)
    undecided = not waiting.done()
    parts.end("c")

    assert undecided
    assert await waiting == {"a": "A", "c": "C"}


async def test_a_fault_of_one_ends_all() -> None:
    parts = Parts("a", "b")
    parts.fail("a")

    with pytest.raises(ExceptionGroup) as raised:
        await together(parts.all(), lambda done: bool(done))

    assert [type(each) for each in raised.value.exceptions] == [ZeroDivisionError]
    assert parts.cancelled == ["b"]


async def test_whoever_waits_may_be_cancelled_and_takes_all_along() -> None:
    parts = Parts("a", "b")
    waiting = asyncio.create_task(together(parts.all()))
    await eventually(lambda: parts.begun == ["a", "b"], "both have begun")
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(parts.cancelled) == ["a", "b"]
