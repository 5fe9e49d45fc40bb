"""What a host and a template say to each other."""

from __future__ import annotations

import msgpack
import pytest

from wire.errors import WireError
from wire.forks import Ended, Fork, Forked, Message, NotForked, decode, encode


@pytest.mark.parametrize(
    "message",
    [Fork("/srv/tagger", {"PATH": "/bin"}), Forked(4711), NotForked("a reason"), Ended(-9)],
    ids=lambda message: type(message).__name__,
)
def test_a_message_arrives_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([]),
        msgpack.packb([["fork"]]),
        msgpack.packb(["spoon", 1]),
        msgpack.packb(["forked"]),
        msgpack.packb(["forked", True]),
        msgpack.packb(["fork", "/srv", []]),
    ],
)
def test_anything_else_is_refused(packet: bytes) -> None:
    with pytest.raises(WireError):
        decode(packet)
