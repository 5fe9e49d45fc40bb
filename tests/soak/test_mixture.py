from __future__ import annotations

import asyncio
import random
from urllib.parse import urlsplit

import pytest

from tests.answering import answering
from tests.soak.mixture import KINDS, LOST, ask, numbers

HEAD = b"HTTP/1.1 %b\r\nServer: demitasse\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"


def said(body: bytes, status: bytes = b"200 OK", media_type: bytes = b"application/json") -> bytes:
    return HEAD % (status, media_type, len(body)) + body


def refusal(status: int, code: bytes) -> bytes:
    body = b'{"status": %d, "code": "%b"}' % (status, code)
    return said(body, b"%d No" % status, b"application/problem+json")


@pytest.mark.parametrize(
    ("answer", "code", "wrong"),
    [
        (said(b'{"x":[7.0,0.5]}'), "200 ok", False),
        (said(b'{"x":[8.0,0.5]}'), "200 ok", True),
        (refusal(429, b"queue-full"), "429 queue-full", False),
        (refusal(500, b"internal-error"), "500 internal-error", True),
        (b"", LOST, True),
    ],
    ids=["its own", "another's", "refused", "a 5xx", "none"],
)
async def test_a_good_request_is_told_from_one_that_was_answered_wrongly(
    answer: bytes, code: str, wrong: bool
) -> None:
    with answering(answer) as url:
        connection = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        seen, what = await ask(numbers(random.Random(1), 7), connection)
        connection[1].close()

    assert seen == code
    assert (what is not None) is wrong


def test_the_same_number_makes_the_same_request_of_each_kind() -> None:
    for kind in KINDS:
        first, again = (kind(random.Random(5), 5) for _ in range(2))

        assert first == again
        assert first.data[first.body_at - 4 : first.body_at] == b"\r\n\r\n"
