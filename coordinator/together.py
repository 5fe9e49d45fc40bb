"""Several computations at once, for one who waits: until all are done, or what is done is enough.

Knows nothing of models and photos; what is enough is the caller's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def _never(done: Mapping[Any, Any]) -> bool:
    return False


async def together(
    parts: Mapping[K, Coroutine[Any, Any, T]],
    is_enough: Callable[[Mapping[K, T]], bool] = _never,
) -> dict[K, T]:
    """What each comes to, in the order of the parts. Where one fails by a fault of ours, none is
    left running.

    A single one runs where it is, without a task and without a turn of the loop.

    Args:
        is_enough: asked whenever one is done. Once it says so, the others are cancelled and
            missing from the result.
    """
    if len(parts) == 1:
        return {key: await part for key, part in parts.items()}
    done: dict[K, T] = {}

    def settle(key: K, task: asyncio.Task[T]) -> None:
        if task.cancelled() or task.exception() is not None:  # the group sees to it
            return
        done[key] = task.result()
        if is_enough(done):
            for other in tasks.values():
                other.cancel()

    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(part) for key, part in parts.items()}
        for key, task in tasks.items():
            task.add_done_callback(partial(settle, key))
    return {key: task.result() for key, task in tasks.items() if not task.cancelled()}
