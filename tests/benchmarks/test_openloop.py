from __future__ import annotations

import pytest

from benchmarks.openloop import is_whole

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


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
