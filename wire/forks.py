"""What a host and a template say to each other: one packet asks for a worker, few answer.

The conversation of one worker is one connection of packets (SOCK_SEQPACKET), so
that a message is a packet and needs no frame; the descriptors that the worker
gets travel with the first. Needs msgpack alone: a template listens before it
imports anything large.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple, Type, Union

import msgpack

from wire.errors import WireError

#: A request is the variables of a process; a reason is a line.
MAX_PACKET_BYTES = 64 * 1024
#: A template ends with this status when it can never be one: nobody should start it again.
UNFIT_STATUS = 3


class Fork(NamedTuple):
    """Host to template, with the descriptors of `DESCRIPTORS`: a worker is wanted."""

    directory: str
    """The model's package: no module of it may be one that the template has imported."""
    environment: Dict[str, str]


#: What travels with a Fork, in this order: the worker's end of the socket pair, the shared
#: memory, the reading end of a pipe that the host holds open for life, stdout, stderr.
DESCRIPTORS = ("socket", "arena", "lifeline", "stdout", "stderr")


class Forked(NamedTuple):
    """The worker itself, to the host: it lives, and dies with the host."""

    pid: int


class NotForked(NamedTuple):
    """Template to host: start this one yourself."""

    reason: str


class Ended(NamedTuple):
    """Template to host: the worker ended; `status` as `subprocess` has it, a signal negative."""

    status: int


Message = Union[Fork, Forked, NotForked, Ended]

_KINDS: Dict[str, Tuple[Type[Any], Tuple[type, ...]]] = {
    "fork": (Fork, (str, dict)),
    "forked": (Forked, (int,)),
    "not-forked": (NotForked, (str,)),
    "ended": (Ended, (int,)),
}
_NAMES = {kind: name for name, (kind, _) in _KINDS.items()}


def encode(message: Message) -> bytes:
    """One packet."""
    return msgpack.packb([_NAMES[type(message)], *message])  # type: ignore[no-any-return]


def decode(packet: bytes) -> Message:
    """The message in a packet.

    Raises:
        WireError: it is none of ours.
    """
    try:
        name, *fields = msgpack.unpackb(packet)
        kind, types = _KINDS[name]
    except Exception as error:  # msgpack raises half a dozen kinds
        raise WireError("not a packet of this protocol") from error
    if tuple(map(type, fields)) != types:
        raise WireError(f"{name}: {len(fields)} fields of other types than expected")
    message: Message = kind(*fields)
    return message
