"""Which heads the express lane takes, and which are left to aiohttp."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import NamedTuple

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import parse_content_type
from aiohttp.http_parser import HttpRequestParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coordinator.http import media_types
from coordinator.http.plain import END, MAX_BYTES, START, PlainHead, PlainHeads
from coordinator.router import ModelRef

REQUEST = "POST /models/tagger/infer HTTP/1.1"
FIELDS = ("Host: edge", "Content-Type: application/json", "Content-Length: 12")


def head(request: str = REQUEST, *more: str, fields: tuple[str, ...] = FIELDS) -> bytes:
    return "\r\n".join((request, *fields, *more)).encode("latin-1") + END


def read(head: bytes) -> PlainHead | None:
    return PlainHeads().read(head)


def test_a_plain_head_is_read() -> None:
    said = read(head(REQUEST, "Accept: */*", "Demitasse-Timeout: 2.5", "X-Request-Id: a-1"))

    assert said == PlainHead(
        ModelRef("tagger"), 12, "application/json", "*/*", "2.5", None, None, "a-1"
    )
    assert head().startswith(START)


def test_a_plain_head_says_for_whom_it_is() -> None:
    said = read(head(REQUEST, "Demitasse-Class: bulk", "Demitasse-Caller: app@shop"))

    assert said is not None
    assert (said.urgency, said.caller) == ("bulk", "app@shop")


@pytest.mark.parametrize("version", ["3", "3.1.0", "3.1.0-rc1", "canary"])
def test_a_version_may_be_a_number_or_an_alias(version: str) -> None:
    said = read(head(f"POST /models/tagger/versions/{version}/infer HTTP/1.1"))

    assert said is not None
    assert said.ref == ("tagger", version)


@pytest.mark.parametrize(
    ("field", "media_type"),
    [
        ("content-type:application/json", "application/json"),
        ("CONTENT-TYPE: \t Application/JSON \t", "application/json"),
        ("Content-Type: application/json; charset=utf-8", "application/json"),
        ("Content-Type: application/json ;charset=utf-8", "application/json"),
        ("X-Other: 1", ""),
    ],
)
def test_names_and_media_types_are_compared_without_case_space_and_parameters(
    field: str, media_type: str
) -> None:
    said = read(head(fields=("Host: edge", field, "Content-Length: 1")))

    assert said is not None
    assert said.media_type == media_type


@pytest.mark.parametrize("value", ["keep-alive", "Keep-Alive"])
def test_whoever_asks_to_keep_the_connection_asks_for_what_is_done_anyhow(value: str) -> None:
    assert read(head(REQUEST, f"Connection: {value}")) is not None


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /models/tagger/infer HTTP/1.1",
        "post /models/tagger/infer HTTP/1.1",
        "POST /models/tagger/infer HTTP/1.0",
        "POST /models/tagger/infer HTTP/2.0",
        "POST /models/tagger/infer",
        "POST  /models/tagger/infer HTTP/1.1",
        "POST /models/tagger/infer  HTTP/1.1",
        "POST /models/tagger/infer HTTP/1.1 ",
        "POST\t/models/tagger/infer\tHTTP/1.1",
        "POST http://edge/models/tagger/infer HTTP/1.1",
        "POST /models/tagger/infer?timeout=1 HTTP/1.1",
        "POST /models/tagger/infer?HTTP/1.1 HTTP/1.1",
        "POST /models/tagger/infer#x HTTP/1.1",
        "POST /models/t%61gger/infer HTTP/1.1",
        "POST /models/tagger/infer/ HTTP/1.1",
        "POST /models//infer HTTP/1.1",
        "POST /models/./infer HTTP/1.1",
        "POST /models/../models/tagger/infer HTTP/1.1",
        "POST /models/Tagger/infer HTTP/1.1",
        "POST /models/3tagger/infer HTTP/1.1",
        "POST /models/tag_ger/infer HTTP/1.1",
        "POST /models/tagg\xe9r/infer HTTP/1.1",
        f"POST /models/{'t' * 64}/infer HTTP/1.1",
        "POST /models/tagger/versions/infer HTTP/1.1",
        "POST /models/tagger/versions//infer HTTP/1.1",
        "POST /models/tagger/versions/../infer HTTP/1.1",
        "POST /models/tagger/versions/3%2E1/infer HTTP/1.1",
        f"POST /models/tagger/versions/{'3' * 64}/infer HTTP/1.1",
        "POST /models/tagger HTTP/1.1",
        "POST /analyze HTTP/1.1",
    ],
)
def test_another_request_line_is_for_aiohttp(request_line: str) -> None:
    assert read(head(request_line)) is None


@pytest.mark.parametrize(
    "field",
    [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "TRANSFER-ENCODING:",
        "Transfer-Encoding : chunked",
        "Expect: 100-continue",
        "Connection: close",
        "Connection: keep-alive, Transfer-Encoding",
        "Connection: Upgrade",
        "Connection:",
        "Proxy-Connection: close",
        "Upgrade: h2c",
        "TE: trailers",
        "Trailer: X-Sum",
        "Content-Encoding: gzip",
        "Content-Encoding: identity",
        "Content-Length: 12",
        "Content-Length: 13",
        "content-length: 12",
        "Host: other",
        "Content-Type: application/json",
        "X-Twice: 1\r\nX-Twice: 2",
        " folded: 1",
        "X: 1\r\n folded",
        "X: 1\r\n\tfolded",
        "no colon",
        ": no name",
        "A Name: 1",
        "Name\t: 1",
        "Name : 1",
        "Na\x00me: 1",
        "Name: a\x00b",
        "Name: a\x7fb",
        "Name: a\x1fb",
        "Name: caf\xe9",
        "Na\xefve: 1",
        "Name: a\nTransfer-Encoding: chunked",
        "Name: a\rTransfer-Encoding: chunked",
        "Name: a\x0bb",
        "Name: a\tb",
        "Name: a  b",
        "(name): 1",
        f"{'n' * 65}: 1",
    ],
)
def test_one_odd_or_special_field_leaves_all_of_it_to_aiohttp(field: str) -> None:
    assert read(head(REQUEST, field)) is None


@pytest.mark.parametrize(
    "length",
    [
        "",
        "0",
        "00",
        "012",
        "+12",
        "-12",
        "1 2",
        "12,12",
        "12;",
        "1_2",
        "0x12",
        "1e1",
        "12.0",
        "9" * 11,
    ],
)
def test_only_a_length_from_one_up_in_plain_digits_is_taken(length: str) -> None:
    assert read(head(fields=("Host: edge", f"Content-Length: {length}"))) is None


@pytest.mark.parametrize("missing", [0, 2], ids=["host", "length"])
def test_without_a_host_or_a_length_it_is_not_plain(missing: int) -> None:
    fields = tuple(field for index, field in enumerate(FIELDS) if index != missing)

    assert read(head(fields=fields)) is None


def test_a_head_may_be_long_and_not_longer() -> None:
    room = MAX_BYTES - len(head(REQUEST, "X: "))

    assert read(head(REQUEST, "X: " + "x" * room)) is not None
    assert read(head(REQUEST, "X: " + "x" * (room + 1))) is None


def test_what_is_remembered_is_told_again_and_what_is_not_plain_stays_so() -> None:
    heads = PlainHeads()
    odd = head(REQUEST, "TE: trailers")

    assert heads.read(head()) is heads.read(bytes(bytearray(head())))
    assert heads.read(odd) is None
    assert heads.read(odd) is None


def test_heads_that_never_come_again_take_a_bounded_room() -> None:
    heads = PlainHeads()
    padding = "x" * 3000
    tracemalloc.start()
    for number in range(5000):  # 15 MB, were they all kept
        heads.read(head(REQUEST, f"X-Request-Id: {number}", f"X: {padding}"))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert max(kept, peak) < 6 * 2**20


class Read(NamedTuple):
    """A request as aiohttp's own parser has it."""

    method: str
    path: str
    length: int
    media_type: str
    body: bytes


async def aiohttp_reads(data: bytes) -> Read:
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    [(message, payload)], upgraded, tail = parser.feed_data(data)
    assert (upgraded, tail, payload.is_eof()) == (False, b"", True)
    headers = message.headers
    assert not message.chunked
    assert not message.should_close
    return Read(
        message.method,
        message.path,
        int(headers["Content-Length"]),
        parse_content_type(headers["Content-Type"])[0] if "Content-Type" in headers else "",
        await payload.read(),
    )


#: Of all others, the lane takes none, whatever the head.
TAKEN = media_types.NUMBERS | {media_types.BYTES}
SPACE = st.sampled_from(["", " ", "\t", "  "])
TYPES = [
    "application/json",
    "application/json; a=b",
    "APPLICATION/msgpack",
    "Application/Octet-Stream ;x",
    "a/b/c",
    "a",
]
TYPES += ["=?utf-8?q?a?=", "application/json, text/plain", '"application/json"', ";", "a/b;c/d"]
ORDINARY = {
    "Host": st.sampled_from(["edge", "edge:80", "[::1]", "a,b", ""]),
    "Content-Length": st.just("3"),
    "Content-Type": st.sampled_from(TYPES),
    "Accept": st.sampled_from(["*/*", "application/msgpack, */*", ""]),
    "Connection": st.sampled_from(["keep-alive", "Keep-Alive"]),
    "Cookie": st.just("a=b; c=d"),
    "Keep-Alive": st.just("timeout=5"),
    "Content_Length": st.just("7"),
    "Transfer_Encoding": st.just("chunked"),
    "X-Transfer-Encoding": st.just("chunked"),
    "Proxy-Connection": st.just("close"),
}
SPECIAL = st.sampled_from(
    [
        "Content-Length: 3",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Host: other",
        "Expect: 100-continue",
        " Content-Length: 4",
        "Upgrade: h2c",
    ]
)
PATHS = st.from_regex(
    r"/models/[a-z][a-z0-9-]{0,5}(/versions/[a-z0-9][a-z0-9.-]{0,5})?/infer", fullmatch=True
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are plain, or nearly: with one field too many, or odd bytes in them somewhere."""
    names = {
        "Host",
        "Content-Length",
        "Content-Type",
        *draw(st.sets(st.sampled_from(sorted(ORDINARY)))),
    }
    fields = [
        f"{draw(st.sampled_from([name, name.lower(), name.upper()]))}:"
        f"{draw(SPACE)}{draw(ORDINARY[name])}{draw(SPACE)}"
        for name in draw(st.permutations(sorted(names)))
    ]
    fields += draw(st.one_of(st.just([]), st.lists(SPECIAL, max_size=1)))
    data = head(f"POST {draw(PATHS)} HTTP/1.1", fields=tuple(fields))
    if draw(st.sampled_from([False, False, True])):
        place = draw(st.integers(0, len(data) - len(END)))
        data = data[:place] + draw(st.binary(min_size=1, max_size=2)) + data[place:]
    return data


@settings(max_examples=400)
@given(heads())
def test_whatever_is_taken_aiohttp_reads_the_same_way(head: bytes) -> None:
    end = head.find(END) + len(END)
    said = read(head[:end])
    assume(said is not None and said.media_type in TAKEN)
    assert said is not None

    version = "" if said.ref.selector is None else f"/versions/{said.ref.selector}"
    expected = Read(
        "POST", f"/models/{said.ref.name}{version}/infer", said.length, said.media_type, b"abc"
    )
    assert asyncio.run(aiohttp_reads(head[:end] + b"abc")) == expected
