from __future__ import annotations

import numpy as np
import pytest

from benchmarks.openloop import LOST, Arrivals, Phase, Retry, asked_to_wait, is_whole, offer
from benchmarks.requests import NUMBER, Request
from tests.answering import answering

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 22\r\n\r\n"
REQUEST = Request("/", NUMBER, {})


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (LENGTH + b"a", False),
        (LENGTH + b"ab", True),
        (CHUNKED + b"2\r\nab\r\n", False),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\n", True),
    ],
    ids=["half a head", "half a body", "a body", "a chunk", "all chunks"],
)
def test_an_answer_is_whole_when_its_last_byte_is_there(answer: bytes, whole: bool) -> None:
    assert is_whole(answer) is whole


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(REFUSED + b'{"retry_after": 0.25 }', 0.25), (REFUSED + b"{}", 3.0), (LENGTH + b"ab", 1.0)],
    ids=["a fraction in the body", "whole seconds in the head", "nothing"],
)
def test_who_is_refused_is_told_when_to_come_back(answer: bytes, seconds: float) -> None:
    assert asked_to_wait(answer) == seconds


def test_arrivals_follow_their_phases() -> None:
    moments = np.array(Arrivals([Phase(1000, 2.0), Phase(4000, 1.0)], burst=50).moments())

    assert (np.diff(moments) >= 0).all()
    assert (moments == 0).sum() == 50
    in_the_first, in_the_second = (moments < 2).sum() - 50, (moments >= 2).sum()
    assert abs(in_the_first - 2000) < 5 * 2000**0.5
    assert abs(in_the_second - 4000) < 5 * 4000**0.5


def test_who_is_refused_comes_back_when_told_and_no_more_often() -> None:
    refused = REFUSED + b'{"retry_after": 0.05 }'
    with answering(refused, refused, LENGTH + b"ab") as url:
        seen = offer(url, REQUEST, Arrivals(burst=1), retry=Retry(1))

    assert seen.status.tolist() == [429, 429]
    assert seen.attempt.tolist() == [1, 2]
    refused_at = seen.due[0] + seen.seconds[0]
    assert seen.due[1] - refused_at == pytest.approx(0.05)


def test_no_answer_is_a_lost_request() -> None:
    with answering(b"") as url:
        seen = offer(url, REQUEST, Arrivals(burst=3))

    assert seen.status.tolist() == [LOST] * 3
