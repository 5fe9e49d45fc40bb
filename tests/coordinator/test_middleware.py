"""coordinator/http/middleware.py: ids and problem documents, over real sockets."""

import logging

import pytest
from aiohttp import web
from edge import calling, exchange, post, serving

from coordinator import errors
from coordinator.http.keys import REQUEST_ID
from coordinator.http.replies import STATUS, problem, status_of


def raising(error):
    async def handler(request):
        raise error

    return handler


async def tells_its_id(request):
    return web.Response(text=request[REQUEST_ID])


async def test_a_refusal_is_a_problem_document():
    refused = errors.UnknownVersion(
        "tagger has no version 9", field="models", members={"available": ["1.0.0"]}
    )

    reply = await exchange(raising(refused), post())

    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json() == {
        "type": "urn:demitasse:error:unknown-version",
        "title": "This model has no such version.",
        "status": 404,
        "detail": "tagger has no version 9",
        "code": "unknown-version",
        "retryable": False,
        "request_id": reply.headers["x-request-id"],
        "field": "models",
        "available": ["1.0.0"],
    }


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.02, "1"), (1.0, "1"), (1.01, "2"), (0.0, "1"), (None, "1")]
)
async def test_retry_after_is_whole_seconds_rounded_up_and_never_zero(seconds, header):
    reply = await exchange(raising(errors.QueueFull(retry_after=seconds)), post())

    assert reply.status == 429
    assert reply.headers["retry-after"] == header


async def test_the_document_has_the_exact_wait():
    reply = await exchange(raising(errors.QueueFull(retry_after=0.25)), post())

    assert reply.json()["retry_after"] == 0.25


async def test_an_error_that_waiting_does_not_help_has_no_retry_after():
    reply = await exchange(raising(errors.InvalidJson()), post())

    assert "retry-after" not in reply.headers
    assert "retry_after" not in reply.json()


async def test_an_unexpected_exception_is_logged_with_the_id_and_shown_to_nobody(caplog):
    with caplog.at_level(logging.ERROR):
        reply = await exchange(raising(ValueError("the password is swordfish")), post())

    assert reply.status == 500
    assert reply.json()["code"] == "internal-error"
    assert b"swordfish" not in reply.body
    assert reply.headers["x-request-id"] in caplog.text
    assert "swordfish" in caplog.text


async def test_a_path_cannot_write_lines_into_the_log(caplog):
    async with serving(raising(ValueError()), path="/{any}") as port, calling(port) as caller:
        await caller.send(post().replace(b"/x", b"/a%0AERROR%20forged"))
        await caller.reply()

    assert "/a%0AERROR%20forged" in caplog.text
    assert "\nERROR forged" not in caplog.text


async def test_a_sane_request_id_is_taken_over():
    reply = await exchange(tells_its_id, post(X_Request_Id="trace-1.2:a/b+c="))

    assert reply.body == b"trace-1.2:a/b+c="
    assert reply.headers["x-request-id"] == "trace-1.2:a/b+c="


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, '"><script>', "ä"])
async def test_a_strange_request_id_is_replaced(sent):
    reply = await exchange(tells_its_id, post(X_Request_Id=sent))

    assert reply.body.decode() == reply.headers["x-request-id"] != sent
    assert len(reply.body) == 24


async def test_two_requests_have_different_ids():
    async with serving(tells_its_id) as port, calling(port) as caller:
        await caller.send(post() + post())

        assert (await caller.reply()).body != (await caller.reply()).body


async def test_an_unknown_route_is_a_problem():
    reply = await exchange(tells_its_id, b"GET /nothing HTTP/1.1\r\nHost: edge\r\n\r\n")

    assert reply.status == 404
    assert reply.json()["code"] == "unknown-route"


async def test_a_wrong_method_is_a_problem_that_says_which_are_right():
    reply = await exchange(tells_its_id, b"DELETE /x HTTP/1.1\r\nHost: edge\r\n\r\n")

    assert reply.status == 405
    assert reply.json()["code"] == "method-not-allowed"
    assert reply.json()["allowed"] == ["POST"]
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (web.HTTPRequestEntityTooLarge(10), "payload-too-large"),
        (web.HTTPUnsupportedMediaType(), "unsupported-media-type"),
        (web.HTTPBadRequest(), "bad-request"),
        (web.HTTPServiceUnavailable(), "internal-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_aiohttps_own_refusals_have_codes_too(exception, code):
    reply = await exchange(raising(exception), post())

    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == code


async def test_a_redirect_passes():
    reply = await exchange(raising(web.HTTPSeeOther("/elsewhere")), post())

    assert reply.status == 303


async def test_a_refusal_with_the_body_read_keeps_the_connection():
    async with serving(raising(errors.QueueFull())) as port, calling(port) as caller:
        await caller.send(post(b"{}"))
        first = await caller.reply()
        await caller.send(post(b"{}"))

        assert "connection" not in first.headers
        assert (await caller.reply()).status == 429


async def test_a_refusal_with_the_body_still_coming_closes_the_connection():
    async with serving(raising(errors.QueueFull())) as port, calling(port) as caller:
        await caller.send(post(Content_Length="100000"))
        reply = await caller.reply()

        assert reply.status == 429
        assert reply.headers["connection"] == "close"


def test_a_class_without_a_status_has_that_of_its_parent():
    assert status_of(errors.TooManyImages()) == STATUS[errors.PayloadTooLarge]


def test_a_problem_inside_an_answer_leaves_the_request_id_out():
    assert "request_id" not in problem(errors.NotServing())


def test_overloaded_always_says_when_to_come_back():
    assert problem(errors.NotServing())["retry_after"] > 0
