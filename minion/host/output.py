"""The pipe that a worker prints into, and the host's end of it.

Whatever is printed, the worker hardly waits and the loop hardly works: it reads a
little at a time, and what is too much unseen. What is kept is decided by `excerpt`.
Called by `workers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Callable

from minion.host.excerpt import SHUT_SECONDS, Excerpt

#: A user's pipes may take 64 MiB together, and then get a page or two each: see pipe(7).
PIPE_BYTES = 2**18
#: A turn of the loop looks at so much: a millisecond, if all of it is short lines.
_READ_BYTES = 16 * 1024
#: A pipe that is not half full is left alone for so long: a worker that prints byte by byte
#: would wake us for each.
_PAUSE_SECONDS = 0.005
#: What somebody wants to see who asks why a worker ended.
LAST_LINES = 20

_UNSEEN = bytearray(PIPE_BYTES)


class Output:
    """What one worker prints, on both of its descriptors."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """
        Args:
            say: called with every line that is kept.
        """
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._excerpt = Excerpt(self._loop.time())
        self._pause: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._ours, self.theirs = os.pipe()
        """The writing end is the worker's; `started` closes ours of it."""
        os.set_blocking(self._ours, False)
        with contextlib.suppress(OSError):  # this user has many pipes already
            fcntl.fcntl(self._ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._half = fcntl.fcntl(self._ours, fcntl.F_GETPIPE_SZ) // 2
        self._loop.add_reader(self._ours, self._readable)

    def started(self) -> None:
        """The process has its end, or there will be no process."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def close(self) -> None:
        """The process has ended: what it said last is read, what others say is not."""
        self.started()
        for timer in (self._pause, self._telling):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._ours)
        left = PIPE_BYTES
        while left > 0 and (count := self._read()):
            left -= count
        self._keep(self._excerpt.end())
        os.close(self._ours)

    def _readable(self) -> None:
        count = self._read()
        if count is not None and count > self._half:
            return  # it prints faster than that
        self._loop.remove_reader(self._ours)
        if count != 0:
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._ours, self._readable)

    def _read(self) -> int | None:
        """How many bytes there were; 0 at the end, None where there is nothing yet."""
        now = self._loop.time()
        try:
            if self._excerpt.shut(now):
                count = os.readv(self._ours, [_UNSEEN])
                self._excerpt.drop(count)
                return count
            data = os.read(self._ours, _READ_BYTES)
        except BlockingIOError:
            return None
        self._keep(self._excerpt.feed(data, now))
        if self._excerpt.dropped_bytes and self._telling is None:
            self._telling = self._loop.call_later(SHUT_SECONDS, self._tell)
        return len(data)

    def _tell(self) -> None:
        self._telling = None
        self._keep(self._excerpt.told(self._loop.time()))
        if self._excerpt.dropped_bytes:  # it goes on
            self._telling = self._loop.call_later(SHUT_SECONDS, self._tell)

    def _keep(self, lines: list[str]) -> None:
        for line in lines:
            self.last_lines.append(line)
            self._say(line)
