"""Frames: cut anywhere, refused before memory is taken."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import resident_bytes
from tests.wire.golden import MESSAGES, encoded
from wire.errors import WireError
from wire.frames import (
    HEADER,
    MAGIC,
    MAX_BODY_BYTES,
    PROTOCOL_VERSION,
    Frame,
    FrameReader,
    encode_frame,
)

STREAM = b"".join(map(encoded, MESSAGES.values()))


def header(
    *,
    magic: bytes = MAGIC,
    version: int = PROTOCOL_VERSION,
    kind: int = 1,
    head: int = 0,
    body: int = 0,
) -> bytes:
    return HEADER.pack(magic, version, kind, head, body, 5)


def plain(frames: list[Frame]) -> list[tuple[int, int, bytes, bytes]]:
    return [(frame.kind, frame.id, bytes(frame.head), bytes(frame.body)) for frame in frames]


WHOLE = plain(FrameReader().feed(STREAM))


def test_frames_come_in_order_from_one_read() -> None:
    assert len(WHOLE) == len(MESSAGES)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_frame_may_be_cut_at_every_byte(name: str) -> None:
    data = encoded(MESSAGES[name])
    expected = plain(FrameReader().feed(data))

    for cut in range(len(data) + 1):
        reader = FrameReader()
        assert plain(reader.feed(data[:cut]) + reader.feed(data[cut:])) == expected


def test_frames_may_come_byte_by_byte() -> None:
    reader = FrameReader()

    frames = [frame for byte in STREAM for frame in reader.feed(bytes([byte]))]

    assert plain(frames) == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_frames_may_come_in_any_pieces(cuts: list[int]) -> None:
    reader = FrameReader()
    edges = [0, *sorted(cuts), len(STREAM)]

    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]

    assert plain([frame for piece in pieces for frame in reader.feed(piece)]) == WHOLE


def test_what_was_given_out_stays_as_it_is() -> None:
    reader = FrameReader()
    data = b"".join(encode_frame(1, 1, b"head", [b"x" * 100]))
    [first] = reader.feed(data[:50]) + reader.feed(data[50:])

    reader.feed(b"".join(encode_frame(1, 2, b"HEAD", [b"y" * 100])))

    assert (bytes(first.head), bytes(first.body)) == (b"head", b"x" * 100)


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 10**6])
def test_a_body_of_several_buffers_arrives_as_one(size: int) -> None:
    buffers = encode_frame(3, 9, b"head", [b"a" * size, bytearray(b"b"), memoryview(b"c" * size)])

    [frame] = FrameReader().feed(b"".join(buffers))

    assert bytes(frame.body) == b"a" * size + b"b" + b"c" * size


def test_a_large_body_is_not_copied_on_its_way_out() -> None:
    body = bytes(10**6)

    assert any(buffer is body for buffer in encode_frame(3, 9, b"", [body]))


# Limits.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header(magic=b"GE"), "not a frame"),
        (header(version=2), "protocol version 2, this side speaks 3"),
        (header(head=101), "a head of 101 bytes, at most 100 are allowed"),
        (header(body=201), "a body of 201 bytes, at most 200 are allowed"),
        (header(head=2**32 - 1, body=2**64 - 1), "a head of"),
        (header(body=2**64 - 1), "a body of"),
    ],
    ids=["magic", "version", "head", "body", "both", "body of 2**64"],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_what_is_no_frame_is_refused(data: bytes, reason: str, piece: int) -> None:
    reader = FrameReader(max_head_bytes=100, max_body_bytes=200)

    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]

    with pytest.raises(WireError, match=reason):
        deque(map(reader.feed, pieces))


def test_what_is_just_allowed_is_taken() -> None:
    reader = FrameReader(max_head_bytes=100, max_body_bytes=200)

    [frame] = reader.feed(b"".join(encode_frame(1, 1, b"h" * 100, [b"b" * 200])))

    assert (len(frame.head), len(frame.body)) == (100, 200)


def test_an_announced_length_is_checked_before_memory_is_taken() -> None:
    reader = FrameReader(max_body_bytes=2**20)
    tracemalloc.start()

    with pytest.raises(WireError):
        reader.feed(header(body=2**62))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 100_000


@pytest.mark.parametrize("cut", [10, HEADER.size], ids=["in the header", "behind the header"])
def test_memory_is_taken_for_what_arrives_and_not_for_what_is_announced(cut: int) -> None:
    reader = FrameReader()
    data = header(body=MAX_BODY_BYTES) + bytes(1000)
    before = resident_bytes()

    reader.feed(data[:cut])
    reader.feed(data[cut:])

    assert resident_bytes() - before < MAX_BODY_BYTES / 100


@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_raises_nothing_but_a_wire_error(data: bytes, piece: int) -> None:
    reader = FrameReader(max_head_bytes=1000, max_body_bytes=1000)
    with contextlib.suppress(WireError):
        for start in range(0, len(data), piece):
            reader.feed(data[start : start + piece])


@given(st.binary(max_size=60), st.integers(0, 255))
def test_garbage_after_a_good_header_raises_nothing_but_a_wire_error(
    data: bytes, kind: int
) -> None:
    reader = FrameReader(max_head_bytes=1000, max_body_bytes=1000)
    with contextlib.suppress(WireError):
        reader.feed(header(kind=kind, head=20, body=10) + data)
