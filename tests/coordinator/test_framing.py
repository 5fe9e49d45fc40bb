"""coordinator/http/framing.py: plain rules; time is an argument."""

from __future__ import annotations

import pytest

from coordinator.http.framing import MAX_HEAD_BYTES, BodyWatch, HeadWatch

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"3;a=b\r\nabc\r\n0A\r\n0\r\n\r\n0\r\n\r\n\r\n00\r\nA: b\r\nC: d\r\n\r\n"


def test_a_head_has_its_time_from_its_first_byte_until_it_is_taken() -> None:
    head = HeadWatch()
    head.feed(HEAD[:5], 3.0)
    head.feed(HEAD[5:-1], 4.0)
    assert not head.complete
    head.feed(HEAD[-1:], 5.0)
    assert head.complete
    assert head.since == 3.0
    head.taken()
    assert head.since is None


def test_a_head_that_cannot_be_answered_yet_has_all_of_its_time_afterwards() -> None:
    head = HeadWatch()
    head.wait(1.0)
    assert head.since is None

    head.feed(b"G", 2.0)
    head.wait(7.0)
    assert head.since == 7.0


@pytest.mark.parametrize("size", range(1, len(HEAD) + 4))
def test_the_end_of_a_head_is_seen_however_it_is_cut(size: int) -> None:
    head, sent, taken = HeadWatch(), b"\r\n" + HEAD + b"GET /", 0
    while not head.complete:
        taken += head.feed(sent[taken : taken + size], 1.0)

    assert sent[taken:] == b"GET /"


def test_empty_lines_before_a_head_are_no_head_and_take_of_its_time() -> None:
    head = HeadWatch()
    head.feed(b"\r\n\r\n\r\n\r\n", 1.0)

    assert (head.since, head.complete) == (1.0, False)


def test_a_head_may_be_so_long_and_no_longer() -> None:
    fits, longer = HeadWatch(), HeadWatch()
    fits.feed(b"x" * MAX_HEAD_BYTES + b"\r\n\r\n" + b"y" * MAX_HEAD_BYTES, 1.0)
    longer.feed(b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", 1.0)

    assert (fits.complete, fits.too_long) == (True, False)
    assert longer.too_long


def test_a_long_head_in_pieces_is_found_too_long() -> None:
    head = HeadWatch()

    head.feed(b"x" * MAX_HEAD_BYTES, 1.0)
    assert not head.too_long
    head.feed(b"x", 1.0)
    assert head.too_long


@pytest.mark.parametrize("size", range(1, len(CHUNKS) + 4))
def test_the_end_of_chunks_is_seen_however_they_are_cut(size: int) -> None:
    body, sent, taken = BodyWatch(None), CHUNKS + b"GET /", 0
    while not body.complete:
        taken += body.feed(sent[taken : taken + size])

    assert sent[taken:] == b"GET /"


def test_a_body_with_a_length_ends_there() -> None:
    body = BodyWatch(5)

    assert (body.feed(b"abc"), body.complete) == (3, False)
    assert (body.feed(b"deGET"), body.complete) == (2, True)
    assert BodyWatch(0).complete


@pytest.mark.parametrize(
    "line", [b"x", b"", b"-", b"3 3", b"-3", b"0x3", b"x" * 100_000, b"0" * 40]
)
def test_chunks_that_are_none_have_no_end(line: bytes) -> None:
    body = BodyWatch(None)
    sent = line + b"\r\n0\r\n\r\n0\r\n\r\n"

    assert (body.feed(sent), body.complete, body.lost) == (len(sent), False, True)


@pytest.mark.parametrize(("size", "is_lost"), [(1, True), (63, True), (64, False)])
def test_the_end_of_thousands_of_tiny_chunks_is_not_looked_for(size: int, is_lost: bool) -> None:
    body = BodyWatch(None)
    body.feed(b"%x\r\n%b\r\n" % (size, b"x" * size) * 1024)
    assert not body.lost

    body.feed(b"%x\r\n%b\r\n" % (size, b"x" * size))
    assert body.lost is is_lost
