"""Listening sockets that outlive the processes which serve them.

The supervisor opens them and hands them to each coordinator that it starts: who
connects while one ends and the next is not there yet waits for it in the
kernel's queue. One socket per slot and address, all on one port, so that the
kernel spreads connections over the slots.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from coordinator.http.listening import BACKLOG
from deploy.machine import DeploymentError, address, claim_port


class Listeners:
    """Of one port: for each slot those of every address that the host's name stands for."""

    def __init__(self, port: int, slots: list[list[socket.socket]]) -> None:
        self.port = port
        self._slots = slots

    def own(self, slot: int) -> list[int]:
        """Descriptors of this slot's."""
        return [each.fileno() for each in self._slots[slot]]

    def neighbours(self, slot: int) -> list[int]:
        """Descriptors of all others'."""
        return [
            each.fileno()
            for number, sockets in enumerate(self._slots)
            if number != slot
            for each in sockets
        ]

    def close(self) -> None:
        """Ours; whoever was handed one has it until its end."""
        for sockets in self._slots:
            for each in sockets:
                each.close()


@contextlib.contextmanager
def open_listeners(host: str, port: int, slots: int, flag: str) -> Iterator[Listeners]:
    """The port is ours, and whoever connects waits, while the block lasts.

    Args:
        port: 0 takes a free one.
        flag: which chooses another port.

    Raises:
        DeploymentError: somebody else has it, or the host is none of this machine's.
    """
    with contextlib.ExitStack() as claims:
        opened: list[list[socket.socket]] = [[] for _ in range(slots)]
        for name in _addresses(host, port, flag):
            claim = claims.enter_context(claim_port(name, port, flag))
            port = claim.getsockname()[1]
            for sockets in opened:
                sockets.append(_listener(name, port, flag))
        listeners = Listeners(port, opened)
        claims.callback(listeners.close)
        yield listeners


def _addresses(host: str, port: int, flag: str) -> list[str]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise DeploymentError(
            f"{address(host, port)} cannot be listened on: {error.strerror}; choose another {flag}"
        ) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _listener(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
    except OSError as error:
        raise DeploymentError(
            f"{address(host, port)} cannot be listened on: {error.strerror}; choose another {flag}"
        ) from error
