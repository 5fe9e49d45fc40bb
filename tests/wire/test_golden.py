"""The bytes of every message are pinned, in both directions."""

from __future__ import annotations

import msgpack
import pytest

from tests.wire.golden import FOLDER, MESSAGES, encoded, golden
from wire.frames import HEADER, MAGIC, PROTOCOL_VERSION, FrameReader
from wire.messages import _DECODERS, Message, decode

NAMES = sorted(MESSAGES)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_is_written_as_ever(name: str) -> None:
    assert encoded(MESSAGES[name]) == golden(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_is_read_as_ever(name: str) -> None:
    [frame] = FrameReader().feed(golden(name))

    assert decode(frame) == MESSAGES[name]


def test_every_file_is_somebodys() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.bin")) == NAMES


def test_every_kind_of_message_has_a_file() -> None:
    kinds = {golden(name)[3] for name in NAMES}

    assert kinds == set(_DECODERS)


def test_the_header_is_what_the_documentation_says() -> None:
    assert HEADER.unpack(golden("predict")[: HEADER.size]) == (MAGIC, PROTOCOL_VERSION, 3, 22, 8, 7)


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_are_new_to_an_old_peer_are_ignored(name: str) -> None:
    _, version, kind, head_bytes, body_bytes, id = HEADER.unpack_from(golden(name))
    head = msgpack.unpackb(golden(name)[HEADER.size : HEADER.size + head_bytes])
    head["since-version-9"] = [1, {"a": None}]
    packed = msgpack.packb(head)
    header = HEADER.pack(MAGIC, version, kind, len(packed), body_bytes, id)
    body = golden(name)[HEADER.size + head_bytes :]

    [frame] = FrameReader().feed(header + packed + body)

    read: Message = decode(frame)
    assert read == MESSAGES[name]
