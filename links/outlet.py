"""What one end of a link says: all of one turn of the event loop in one write, and
heartbeats while there is nothing else to say.

What is said, and what is made of what is heard, is each end's own; when a heartbeat is
due, and when the other end is gone, `wire.heartbeats` knows. Holds the transport and a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from wire.heartbeats import HEARTBEAT_SECONDS, Heartbeat, Look, Pulse
from wire.tensor import Buffer


class Outlet:
    """Of one connection: `open` when it is made, `end` when it is lost."""

    __slots__ = ("_beat", "_loop", "_on_silence", "_outgoing", "_transport", "pulse")

    def __init__(self, on_silence: Callable[[], None]) -> None:
        """
        Args:
            on_silence: called when the other end has said nothing for too long, and before
                the connection is aborted.
        """
        self.pulse = Pulse()
        """Whoever reads says here that something was heard."""
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[Buffer] = []
        self._beat: asyncio.TimerHandle | None = None

    def open(self, transport: asyncio.Transport) -> None:
        """What is sent goes here."""
        self._transport = transport

    def watch(self) -> None:
        """From now on the other end has to say something every so often, and is told so."""
        self._beat = self._loop.call_later(HEARTBEAT_SECONDS, self._look)

    def _look(self) -> None:
        assert self._transport is not None
        look = self.pulse.look(self._transport.get_write_buffer_size())
        if look is Look.SILENT:
            self._on_silence()
            self._transport.abort()
            return
        if look is Look.SPEAK:
            self.send(Heartbeat().encode())
        self.watch()

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Soon, together with what else is sent in this turn of the loop: one write for all."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += buffers

    def close(self) -> None:
        """Hangs up once everything is said."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Hangs up on somebody to whom nothing more need be said."""
        if self._transport is not None:
            self._transport.abort()

    def end(self) -> None:
        """The other end is watched no longer."""
        if self._beat is not None:
            self._beat.cancel()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        assert self._transport is not None
        if outgoing and not self._transport.is_closing():
            self.pulse.said = True
            unsent = self._transport.get_write_buffer_size()
            self._transport.writelines(outgoing)
            self.pulse.queued += self._transport.get_write_buffer_size() - unsent
