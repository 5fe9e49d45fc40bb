"""The bytes of every message are pinned, in both directions."""

from __future__ import annotations

import msgpack
import pytest

from tests.wire.golden import (
    FOLDER,
    MESSAGES,
    AnyMessage,
    decode,
    encoded,
    fixed_bytes,
    golden,
    map_of,
)
from wire.frames import HEADER, MAGIC, PROTOCOL_VERSION, FrameReader, encode_frame
from wire.heads import Kind

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

    assert kinds == {value for name, value in vars(Kind).items() if name.isupper()}


def test_the_header_is_what_the_documentation_says() -> None:
    assert HEADER.unpack(golden("predict")[: HEADER.size]) == (MAGIC, PROTOCOL_VERSION, 3, 54, 8, 7)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("result")])
def test_keys_that_are_new_to_an_old_peer_are_ignored(name: str) -> None:
    [whole] = FrameReader().feed(golden(name))
    fixed = bytes(whole.head[: fixed_bytes(whole.kind)])
    head = fixed + msgpack.packb({**map_of(whole), "since-version-9": [1, {"a": None}]})

    [frame] = FrameReader().feed(b"".join(encode_frame(whole.kind, whole.id, head, [whole.body])))

    read: AnyMessage = decode(frame)
    assert read == MESSAGES[name]
