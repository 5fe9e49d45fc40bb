"""coordinator/http/body.py: limits, timeouts, encodings and 100-continue, over raw sockets."""

import asyncio
import gzip
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from aiohttp import web
from edge import LIMITS, calling, exchange, post, serving
from stage import PATIENCE_SECONDS

from coordinator.errors import PayloadTooLarge, QueueFull
from coordinator.http.body import read_body
from coordinator.http.inflate import inflate
from tests.waiting import eventually

ANY = "application/octet-stream"


async def echo(request):
    return web.Response(body=await read_body(request, LIMITS.max_body_bytes, LIMITS))


async def generous(request):
    return web.Response(body=await read_body(request, 1024**2, LIMITS))


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return sent + (b"0\r\n\r\n" if end else b"")


@pytest.mark.parametrize("size", [1, 64, 4096])
async def test_a_body_up_to_the_limit_arrives_whole(size):
    reply = await exchange(echo, post(b"x" * size, ANY))

    assert reply.body == b"x" * size


async def test_a_body_in_pieces_arrives_whole():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(Content_Length="6", content_type=ANY))
        for piece in (b"ab", b"cd", b"ef"):
            await caller.send(piece)

        assert (await caller.reply()).body == b"abcdef"


async def test_a_body_of_known_length_is_received_in_the_place_for_it():
    places, bodies = [], []

    def place(size: int) -> memoryview:
        places.append(memoryview(bytearray(size)))
        return places[-1]

    async def handler(request):
        bodies.append(await read_body(request, 100, LIMITS, place))
        return web.Response()

    async with serving(handler) as port, calling(port) as caller:
        await caller.send(post(Content_Length="6", content_type=ANY))
        await eventually(lambda: len(places) == 1, "the place is taken")
        for piece in (b"ab", b"cd", b"ef"):
            await caller.send(piece)
        assert (await caller.reply()).status == 200

    assert [bytes(each) for each in places] == [b"abcdef"]
    assert bodies[0].obj is places[0].obj


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(content_type=ANY, Transfer_Encoding="chunked") + chunked(b"ab", b"c"), 200),
        (post(gzip.compress(b"abc"), ANY, Content_Encoding="gzip"), 200),
        (post(b"x" * 101, ANY), 413),
    ],
    ids=["chunked", "compressed", "too long"],
)
async def test_no_place_is_taken_for_another_body(sent: bytes, status: int) -> None:
    places: list[int] = []
    asked = asyncio.Event()

    async def handler(request):
        asked.set()
        return web.Response(body=await read_body(request, 100, LIMITS, places.append))

    async with serving(handler) as port, calling(port) as caller:
        head, end, body = sent.partition(b"\r\n\r\n")
        await caller.send(head + end)
        await asked.wait()  # or what has arrived with the head would need no place
        await caller.send(body)
        reply = await caller.reply()

    assert places == []
    assert reply.status == status


async def test_a_chunked_body_arrives_whole():
    reply = await exchange(
        echo, post(content_type=ANY, Transfer_Encoding="chunked") + chunked(b"ab", b"c")
    )

    assert reply.body == b"abc"


async def test_an_empty_body_is_refused():
    reply = await exchange(echo, post(b"", ANY))

    assert (reply.status, reply.json()["code"]) == (400, "empty-body")


async def test_two_gigabytes_announced_are_refused_before_a_byte_is_sent():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Content_Length=str(2 * 1024**3)))
        reply = await caller.reply()

        assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")
        assert reply.headers["connection"] == "close"


async def test_one_byte_too_many_is_refused():
    reply = await exchange(echo, post(b"x" * 4097, ANY))

    assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")


async def test_an_endless_chunked_body_is_refused_and_its_rest_is_kept_nowhere():
    chunk = chunked(b"x" * 65536, end=False)
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Transfer_Encoding="chunked") + chunk)
        reply = await caller.reply()
        tracemalloc.start()
        for _ in range(200):  # 13 MB more, read and thrown away while the connection lingers
            await caller.send(chunk)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")
        assert peak < 4 * 1024**2


async def test_a_body_that_stops_coming_is_given_up():
    async def impatient(request):
        return web.Response(body=await read_body(request, 100, replace(LIMITS, body_timeout=0.05)))

    async with serving(impatient) as port, calling(port) as caller:
        await caller.send(post(b"ab", ANY, Content_Length="3"))
        reply = await caller.reply()

        assert (reply.status, reply.json()["code"]) == (408, "body-timeout")
        assert reply.headers["connection"] == "close"


async def test_a_body_of_which_nothing_arrives_any_more_is_given_up_long_before_its_time_is_over():
    brief = replace(LIMITS, body_idle_timeout=0.05)

    async def impatient(request):
        return web.Response(body=await read_body(request, 100, brief))

    async with serving(impatient) as port, calling(port) as caller:
        await caller.send(post(b"ab", ANY, Content_Length="3"))
        reply = await caller.reply()

        assert (reply.status, reply.json()["code"]) == (408, "body-timeout")
        assert "nothing" in reply.json()["detail"]


async def test_a_slow_body_that_keeps_coming_may_take_longer_than_it_may_stand_still():
    """In real time: 30 pieces, 40 ms apart, with a second to stand still."""

    brief = replace(LIMITS, body_idle_timeout=1.0)

    async def patient(request):
        return web.Response(body=await read_body(request, 100, brief))

    async with serving(patient) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Content_Length="30"))
        for _ in range(30):
            await asyncio.sleep(0.04)
            await caller.send(b"x")

        assert (await caller.reply()).body == b"x" * 30


async def test_a_chunk_that_is_broken_later_is_answered_at_once_and_hung_up_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        begun.set()
        return await echo(request)

    async with serving(handler) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Transfer_Encoding="chunked"))
        await begun.wait()
        await caller.send(chunked(b"ab", end=False))
        async with asyncio.timeout(LIMITS.body_idle_timeout / 2):
            await caller.send(b"xyz\r\n")
            reply = await caller.reply()
        assert (reply.status, reply.json()["code"]) == (400, "invalid-encoded-body")
        assert reply.headers["connection"] == "close"
        assert await caller.closed()

    assert not caplog.records


async def test_a_chunk_that_is_broken_behind_an_answer_is_thrown_away_with_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def full(request: web.Request) -> web.Response:
        raise QueueFull

    async with serving(full) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Transfer_Encoding="chunked"))
        assert (await caller.reply()).status == 429
        await caller.send(chunked(b"ab", end=False) + b"xyz\r\n")
        assert await caller.closed()

    assert not caplog.records


async def test_who_hangs_up_before_the_100_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(echo) as port:
        for _ in range(20):
            async with calling(port) as caller:
                await caller.send(post(content_type=ANY, Expect="100-continue", Content_Length="2"))

    assert not caplog.records


async def test_a_broken_chunk_is_the_callers_fault():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Transfer_Encoding="chunked") + b"2\r\nab\r\n")
        await asyncio.sleep(0)
        await caller.send(b"zz\r\n")
        reply = await caller.reply()

        assert reply.status == 400


async def test_identity_is_the_encoding_of_bytes_as_they_are():
    reply = await exchange(echo, post(b"abc", ANY, Content_Encoding="Identity"))

    assert reply.body == b"abc"


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, identity", "x", ""]
)
async def test_another_content_encoding_is_refused(coding):
    reply = await exchange(echo, post(b"abc", ANY, Content_Encoding=coding))

    assert (reply.status, reply.json()["code"]) == (415, "unsupported-content-encoding")
    assert reply.json()["accepted"] == ["identity", "gzip", "deflate"]


async def test_two_content_encoding_headers_are_refused():
    twice = post(b"abc", ANY, Content_Encoding="identity", content_encoding="identity")

    assert (await exchange(echo, twice)).json()["code"] == "unsupported-content-encoding"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)],
)
@pytest.mark.parametrize("size", [1, 3072])
async def test_a_body_that_was_compressed_once_is_what_it_was_before(coding, compress, size):
    reply = await exchange(echo, post(compress(b"x" * size), ANY, Content_Encoding=coding))

    assert reply.body == b"x" * size


async def test_a_compressed_body_in_chunks_is_what_it_was_before():
    packed = gzip.compress(b"abc" * 100)
    head = post(content_type=ANY, Transfer_Encoding="chunked", Content_Encoding="gzip")

    reply = await exchange(echo, head + chunked(packed[:7], packed[7:]))

    assert reply.body == b"abc" * 100


@pytest.mark.parametrize(
    "body",
    [
        b"abc",
        gzip.compress(b"abc")[:-1],
        gzip.compress(b"abc")[:5],
        gzip.compress(b"abc") + b"x",
        gzip.compress(b"abc") * 2,
        gzip.compress(b"abc")[:-8] + bytes(8),
        zlib.compress(b"abc"),
    ],
    ids=["plain", "cut", "cut early", "goes on", "twice", "wrong sum", "deflate"],
)
async def test_a_body_that_is_not_what_its_encoding_says_is_refused(body):
    reply = await exchange(echo, post(body, ANY, Content_Encoding="gzip"))

    assert (reply.status, reply.json()["code"]) == (400, "invalid-encoded-body")


async def test_nothing_compressed_is_an_empty_body():
    reply = await exchange(echo, post(gzip.compress(b""), ANY, Content_Encoding="gzip"))

    assert (reply.status, reply.json()["code"]) == (400, "empty-body")


async def test_one_byte_too_many_when_inflated_is_refused():
    body = gzip.compress(b"x" * (LIMITS.max_inflated_bytes + 1))

    reply = await exchange(echo, post(body, ANY, Content_Encoding="gzip"))

    assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")


async def test_a_bomb_is_refused_at_its_first_byte_too_many():
    bomb = gzip.compress(bytes(64 * 1024**2))
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            inflate(bomb, "gzip", 1024**2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 * 1024**2


async def test_a_body_slower_than_the_least_rate_is_given_up_though_something_always_arrives():
    hasty = replace(LIMITS, body_idle_timeout=0.3, min_rate=1000.0)

    async def impatient(request):
        return web.Response(body=await read_body(request, 4096, hasty))

    async with serving(impatient) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Content_Length="4000"))
        reading = asyncio.create_task(caller.reply())
        while not reading.done():
            await caller.send(b"x")
            await asyncio.sleep(0.02)
        reply = await reading

    assert (reply.status, reply.json()["code"]) == (408, "body-timeout")
    assert "1000 bytes/s" in reply.json()["detail"]


async def test_a_body_in_chunks_of_a_byte_is_refused_when_they_cost_more_than_it():
    async with serving(generous) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Transfer_Encoding="chunked"))
        for _ in range(40):
            await caller.send(chunked(*[b"x"] * 1000, end=False))
        reply = await caller.reply()

    assert (reply.status, reply.json()["code"]) == (400, "invalid-encoded-body")
    assert "chunks" in reply.json()["detail"]


async def test_a_body_in_some_thousand_small_chunks_arrives_whole():
    head = post(content_type=ANY, Transfer_Encoding="chunked")

    reply = await exchange(generous, head + chunked(*[b"abc"] * 5000))
    assert reply.headers["connection"] == "close"  # what may be behind it, nobody looked for

    assert reply.body == b"abc" * 5000


async def test_100_continue_is_sent_when_the_body_is_wanted():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Expect="100-continue", Content_Length="2"))
        status, _ = await caller.head()
        await caller.send(b"ab")
        reply = await caller.reply()

        assert (status, reply.status, reply.body) == (100, 200, b"ab")


async def test_a_refused_request_gets_no_100_and_the_connection_ends():
    async def full(request):
        raise QueueFull

    async with serving(full) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Expect="100-continue", Content_Length="2"))
        reply = await caller.reply()

        assert reply.status == 429
        assert reply.headers["connection"] == "close"


async def test_too_much_announced_behind_100_continue_gets_no_100():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Expect="100-continue", Content_Length="9999"))

        assert (await caller.reply()).status == 413


async def test_another_expectation_is_refused():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(content_type=ANY, Expect="200-ok", Content_Length="2"))
        reply = await caller.reply()

        assert (reply.status, reply.json()["code"]) == (417, "unsupported-expectation")


async def test_another_expectation_is_refused_when_the_body_came_with_the_head():
    async with serving(echo) as port, calling(port) as caller:
        await caller.send(post(b"ok", ANY, Expect="200-ok"))

        assert (await caller.reply()).json()["code"] == "unsupported-expectation"


async def test_the_next_good_request_on_another_connection_is_answered():
    async with serving(echo) as port:
        async with calling(port) as hostile:
            await hostile.send(post(content_type=ANY, Content_Length=str(2 * 1024**3)))
            await hostile.reply()
        async with calling(port) as caller:
            await caller.send(post(b"good", ANY))

            assert (await caller.reply()).body == b"good"


async def test_a_caller_that_hangs_up_leaves_no_error_in_the_log(caplog):
    ended = asyncio.Event()

    async def watched(request):
        try:
            return await echo(request)
        finally:
            ended.set()

    async with serving(watched) as port:
        async with calling(port) as caller:
            await caller.send(post(b"ab", ANY, Content_Length="3"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ended.wait()

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "codings",
    ["gzip, chunked", "deflate,chunked", "foo, chunked", "identity, chunked", ",chunked", ""],
)
async def test_a_body_that_is_more_than_chunked_is_refused_and_hung_up_on(codings: str) -> None:
    head = post(content_type=ANY, Transfer_Encoding=codings)

    async with serving(echo) as port, calling(port) as caller:
        await caller.send(head + (chunked(b"abc") if codings else b""))
        reply = await caller.reply()
        assert await caller.closed()

    assert (reply.status, reply.json()["code"]) == (415, "unsupported-content-encoding")
    assert reply.json()["field"] == "Transfer-Encoding"
    assert reply.json()["accepted"] == ["chunked"]


async def test_chunks_in_http_1_0_are_refused_and_hung_up_on() -> None:
    head = post(content_type=ANY, Transfer_Encoding="chunked", Connection="keep-alive")

    async with serving(echo) as port, calling(port) as caller:
        await caller.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + chunked(b"abc"))
        reply = await caller.reply()
        assert await caller.closed()

    assert (reply.status, reply.json()["field"]) == (400, "Transfer-Encoding")


async def test_the_name_of_the_one_transfer_coding_has_no_case():
    head = post(content_type=ANY, Transfer_Encoding="Chunked")

    assert (await exchange(echo, head + chunked(b"abc"))).body == b"abc"
