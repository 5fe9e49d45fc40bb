"""The SDK against a real server on loopback, which answers what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from demitasse.client import JITTER, ApiError, Client, Patience, open_http


class Platform:
    """Keeps what it was asked and gives the answers that were laid out, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.files: list[tuple[str | None, bytes]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                assert not isinstance(part, type(None))
                self.files.append((part.filename, bytes(await part.read())))  # type: ignore[union-attr]
        else:
            self.bodies.append(await request.read())
        index = min(len(self.requests), len(self.answers)) - 1
        answer = self.answers[index]
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


class Clock:
    """Moved by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    platform = Platform()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", platform.handle)
    async with TestServer(app) as server:
        platform.url = str(server.make_url("/"))
        yield platform


@pytest.fixture
def clock() -> Clock:
    return Clock()


Ask = Callable[..., Any]


@pytest.fixture
def ask(platform: Platform, clock: Clock) -> Ask:
    """Calls one of the client's methods in a thread, while the server answers in the loop."""

    async def call(method: str, *arguments: Any, **options: Any) -> Any:
        with Client(platform.url, retry_for=30, sleep=clock.sleep, clock=clock) as client:
            return await asyncio.to_thread(getattr(client, method), *arguments, **options)

    return call


def answer(**document: Any) -> web.Response:
    return web.json_response(document)


def problem(status: int, code: str, **members: Any) -> web.Response:
    document = {"code": code, "detail": f"it is {code}", "request_id": "r-1", **members}
    return web.json_response(document, status=status)


# --- what is sent ------------------------------------------------------------------------------


async def test_a_photo_travels_with_its_name(platform: Platform, ask: Ask, tmp_path: Path) -> None:
    platform.answers = [answer(images=[])]
    (tmp_path / "cat.jpg").write_bytes(b"jpeg")

    await ask("analyze", tmp_path / "cat.jpg")

    assert platform.files == [("cat.jpg", b"jpeg")]


async def test_several_photos_travel_in_one_request_in_order(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(images=[])]

    await ask("analyze", [b"one", b"two"])

    assert [content for _, content in platform.files] == [b"one", b"two"]


async def test_models_and_how_much_each_matters_are_in_the_query(
    platform: Platform, ask: Ask
) -> None:
    platform.answers = [answer(images=[])]
    models = ["tagger", "caption@2"]

    await ask("analyze", b"photo", models=models, require=["tagger"], optional=["caption"])

    assert dict(platform.requests[0].query) == {
        "models": "tagger,caption@2",
        "require": "tagger",
        "optional": "caption",
    }


async def test_what_is_not_asked_for_is_not_sent(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(images=[])]

    await ask("analyze", b"photo")

    assert not platform.requests[0].query
    assert "Demitasse-Timeout" not in platform.requests[0].headers


async def test_a_timeout_is_told_to_the_platform(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(images=[])]

    await ask("analyze", b"photo", timeout=2.5)

    assert platform.requests[0].headers["Demitasse-Timeout"] == "2.5"


FLOW_CALLS = [
    pytest.param(("analyze", b"photo"), id="analyze"),
    pytest.param(("infer", "noop", {"x": [1.0]}), id="infer"),
]


def flow(request: web.Request) -> tuple[str | None, str | None]:
    return request.headers.get("Demitasse-Class"), request.headers.get("Demitasse-Caller")


@pytest.mark.parametrize("call", FLOW_CALLS)
async def test_class_and_caller_of_the_client_travel_with_each_call_that_names_no_other(
    platform: Platform, call: tuple[Any, ...]
) -> None:
    platform.answers = [answer(images=[])]
    method, *arguments = call

    with Client(platform.url, class_="bulk", caller="nightly@host:1") as client:
        ask = getattr(client, method)
        await asyncio.to_thread(ask, *arguments)
        await asyncio.to_thread(ask, *arguments, class_="shadow", caller="mirror")
        await asyncio.to_thread(ask, *arguments, caller="mirror")

    assert [flow(each) for each in platform.requests] == [
        ("bulk", "nightly@host:1"),
        ("shadow", "mirror"),
        ("bulk", "mirror"),
    ]


@pytest.mark.parametrize("call", FLOW_CALLS)
async def test_without_class_and_caller_the_platform_decides(
    platform: Platform, ask: Ask, call: tuple[Any, ...]
) -> None:
    platform.answers = [answer(images=[])]

    await ask(*call)

    assert flow(platform.requests[0]) == (None, None)


BAD_FLOWS = [
    pytest.param(
        {"class_": "urgent"},
        "'urgent' is no class; there is interactive, bulk, shadow",
        "Demitasse-Class",
        id="class",
    ),
    pytest.param(
        {"caller": "me and you"},
        "'me and you' is no caller's name: 1 to 64 of A-Z a-z 0-9 . _ : @ -",
        "Demitasse-Caller",
        id="caller",
    ),
    pytest.param({"caller": ""}, "is no caller's name", "Demitasse-Caller", id="nobody"),
    pytest.param({"caller": "a" * 65}, "is no caller's name", "Demitasse-Caller", id="too long"),
    pytest.param({"caller": "a\n"}, "is no caller's name", "Demitasse-Caller", id="a line end"),
]


@pytest.mark.parametrize(("given", "why", "header"), BAD_FLOWS)
@pytest.mark.parametrize("call", FLOW_CALLS)
async def test_a_class_or_caller_that_there_cannot_be_is_refused_before_anything_is_sent(
    platform: Platform,
    ask: Ask,
    call: tuple[Any, ...],
    given: dict[str, str],
    why: str,
    header: str,
) -> None:
    platform.answers = [answer(images=[])]

    with pytest.raises(ApiError) as caught:
        await ask(*call, **given)

    assert why in caught.value.detail
    assert (caught.value.code, caught.value.status) == ("invalid-parameter", None)
    assert caught.value.problem == {"field": header}
    assert platform.requests == []


@pytest.mark.parametrize(("given", "why", "header"), BAD_FLOWS)
def test_a_client_is_not_made_for_a_class_or_caller_that_there_cannot_be(
    given: dict[str, Any], why: str, header: str
) -> None:
    with pytest.raises(ApiError) as caught:
        Client("http://127.0.0.1:9", **given)

    assert why in caught.value.detail
    assert caught.value.problem == {"field": header}


async def test_arrays_travel_with_dtype_and_shape(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(output={})]

    await ask("infer", "digits", {"pixels": np.ones((2, 3), np.float32)})

    assert msgpack.unpackb(platform.bodies[0])["inputs"]["pixels"] == {
        "dtype": "float32",
        "shape": [2, 3],
        "data": np.ones((2, 3), "<f4").tobytes(),
    }


async def test_lists_travel_as_they_are(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(output={})]

    await ask("infer", "noop", {"x": [1.0, 2.0]}, parameters={"k": 1})

    assert msgpack.unpackb(platform.bodies[0]) == {
        "inputs": {"x": [1.0, 2.0]},
        "parameters": {"k": 1},
    }


@pytest.mark.parametrize(
    ("options", "path"),
    [
        pytest.param({}, "/models/noop/infer", id="default"),
        pytest.param({"version": "1.0.0"}, "/models/noop/versions/1.0.0/infer", id="version"),
    ],
)
async def test_infer_asks_the_version_that_was_named(
    platform: Platform, ask: Ask, options: dict[str, str], path: str
) -> None:
    platform.answers = [answer(output={"n": 1})]

    got = await ask("infer", "noop", {"x": [1.0]}, **options)

    assert platform.requests[0].path == path
    assert got == {"output": {"n": 1}}


async def test_models_are_listed(platform: Platform, ask: Ask) -> None:
    platform.answers = [answer(models=[{"name": "noop"}])]

    assert await ask("models") == [{"name": "noop"}]


# --- what goes wrong ---------------------------------------------------------------------------


async def test_a_problem_document_becomes_one_error(platform: Platform, ask: Ask) -> None:
    platform.answers = [problem(404, "unknown-model", available=["noop"])]

    with pytest.raises(ApiError) as caught:
        await ask("model", "nop")

    error = caught.value
    assert (error.code, error.status, error.detail) == ("unknown-model", 404, "it is unknown-model")
    assert (error.request_id, error.retry_after) == ("r-1", None)
    assert error.problem["available"] == ["noop"]


async def test_nobody_there_is_unreachable() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ApiError) as caught:
        await asyncio.to_thread(client.models)

    assert (caught.value.code, caught.value.status) == ("unreachable", None)


async def test_a_photo_that_cannot_be_read_is_an_api_error(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"no\.jpg.*No such file") as caught:
        await ask("analyze", tmp_path / "no.jpg")

    assert (caught.value.code, caught.value.status) == ("unreadable-photo", None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.zeros(2, np.complex64), "input 'x': dtype complex64 does not travel"),
        (np.array([object()]), "input 'x': dtype object does not travel"),
        ([1, object()], "cannot be sent"),
        (2**64, "cannot be sent"),
    ],
    ids=["complex", "objects", "an object", "too many bits"],
)
async def test_what_cannot_be_sent_is_an_api_error(ask: Ask, value: Any, why: str) -> None:
    with pytest.raises(ApiError, match=why) as caught:
        await ask("infer", "digits", {"x": value})

    assert (caught.value.code, caught.value.status) == ("unsupported-input", None)


async def test_an_address_that_is_none_is_unreachable() -> None:
    with Client("ftp://127.0.0.1:9") as client, pytest.raises(ApiError) as caught:
        await asyncio.to_thread(client.models)

    assert caught.value.code == "unreachable"


async def test_somebody_elses_server_is_an_unexpected_answer(platform: Platform, ask: Ask) -> None:
    platform.answers = [web.Response(text="<html>welcome</html>", content_type="text/html")]

    with pytest.raises(ApiError) as caught:
        await ask("models")

    assert caught.value.code == "unexpected-answer"


async def test_an_error_of_a_proxy_keeps_its_status(platform: Platform, ask: Ask) -> None:
    platform.answers = [web.Response(text="<html>bad gateway</html>", status=502)]

    with pytest.raises(ApiError) as caught:
        await ask("models")

    assert (caught.value.code, caught.value.status) == ("unexpected-answer", 502)


# --- coming back -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
async def test_a_passing_refusal_is_asked_again_after_the_time_it_named(
    platform: Platform, ask: Ask, clock: Clock, status: int
) -> None:
    platform.answers = [problem(status, "queue-full", retry_after=2.0), answer(images=[])]

    await ask("analyze", b"photo")

    [slept] = clock.slept
    assert 2.0 <= slept <= 2.0 * (1 + JITTER)
    assert [content for _, content in platform.files] == [b"photo", b"photo"]


async def test_the_header_is_believed_where_there_is_no_document(
    platform: Platform, ask: Ask, clock: Clock
) -> None:
    platform.answers = [
        web.Response(status=503, headers={"Retry-After": "3"}),
        answer(models=[]),
    ]

    await ask("models")

    assert clock.slept[0] >= 3.0


async def test_the_last_refusal_is_raised_when_patience_ends(
    platform: Platform, ask: Ask, clock: Clock
) -> None:
    platform.answers = [problem(429, "queue-full", retry_after=8.0)]

    with pytest.raises(ApiError) as caught:
        await ask("models")

    assert (caught.value.code, caught.value.retry_after) == ("queue-full", 8.0)
    assert 2 <= len(clock.slept) <= 3  # 30 s of patience, 8 s and a little a time


@pytest.mark.parametrize("status", [400, 422, 500, 502, 504])
async def test_other_errors_are_not_asked_again(
    platform: Platform, ask: Ask, clock: Clock, status: int
) -> None:
    platform.answers = [problem(status, "some-code", retryable=True)]

    with pytest.raises(ApiError):
        await ask("models")

    assert clock.slept == []


def test_a_wait_that_does_not_fit_into_the_patience_is_not_begun() -> None:
    error = ApiError("queue-full", "full", status=429, retry_after=5.0)

    assert Patience(10.0).next_wait(error, waited=5.0) == 5.0
    assert Patience(10.0).next_wait(error, waited=5.1) is None


@pytest.mark.parametrize(("key", "sent"), [("", None), ("a-key", "Bearer a-key")])
def test_the_admin_apis_key_goes_with_every_request_where_there_is_one(
    key: str, sent: str | None
) -> None:
    with open_http("http://127.0.0.1:1", key=key) as http:
        assert http.build_request("GET", "/fleet").headers.get("Authorization") == sent
