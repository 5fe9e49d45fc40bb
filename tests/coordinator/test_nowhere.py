"""Where no route leads: refusals that look like all others, whatever the head expects."""

from __future__ import annotations

import pytest
from edge import Reply, calling
from stage import Coordinator, Stage

NOWHERE = [
    pytest.param("GET /nowhere", 404, "unknown-route", id="path"),
    pytest.param("GET /", 404, "unknown-route", id="root"),
    pytest.param("OPTIONS *", 404, "unknown-route", id="asterisk"),
    pytest.param("CONNECT x:443", 404, "unknown-route", id="authority"),
    pytest.param("GET http://x", 404, "unknown-route", id="absolute, no path"),
    pytest.param("GET http://x/nowhere", 404, "unknown-route", id="absolute"),
    pytest.param("GET http://x?a=b", 404, "unknown-route", id="absolute, a query"),
    pytest.param("PUT /livez", 405, "method-not-allowed", id="method"),
]


def ports(coordinator: Coordinator) -> list[int]:
    """The public port, and the admin API's."""
    return [coordinator.port, coordinator.admin.base_url.port or 0]


async def asked(port: int, line: str, expectation: str) -> Reply:
    async with calling(port) as caller:
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: {expectation}"
        await caller.send(f"{head}\r\n\r\n".encode())
        return await caller.reply()


@pytest.mark.parametrize("line", [each.values[0] for each in NOWHERE])
async def test_another_expectation_is_a_problem_there_too(stage: Stage, line: str) -> None:
    coordinator = await stage.coordinator()

    replies = [await asked(port, line, "foo") for port in ports(coordinator)]

    for reply in replies:
        assert (reply.status, reply.json()["code"]) == (417, "unsupported-expectation")
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["server"] == "demitasse"
        assert reply.json()["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(("line", "status", "code"), NOWHERE)
async def test_nobody_is_invited_to_upload_what_leads_nowhere(
    stage: Stage, line: str, status: int, code: str
) -> None:
    coordinator = await stage.coordinator()

    replies = [await asked(port, line, "100-continue") for port in ports(coordinator)]

    assert [(each.status, each.json()["code"]) for each in replies] == [(status, code)] * 2


async def test_the_methods_that_a_path_does_answer_are_named(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    wrong = await coordinator.admin.put("/models/gate/settings", json={})

    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "DELETE,PATCH")
    assert wrong.json()["allowed"] == ["DELETE", "PATCH"]


async def test_another_expectation_is_a_problem_on_a_connection_that_was_in_the_express_lane(
    stage: Stage,
) -> None:
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()
    body = b'{"inputs": {"x": [1.0]}}'
    plain = (
        b"POST /models/gate/infer HTTP/1.1\r\nHost: edge\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    )

    async with calling(coordinator.port) as caller:
        await caller.send(plain + b"\r\n" + body)
        answered = await caller.reply()
        await caller.send(plain + b"Expect: foo\r\n\r\n" + body)
        known = await caller.reply()
        await caller.send(b"GET /nowhere HTTP/1.1\r\nHost: edge\r\nExpect: foo\r\n\r\n")
        unknown = await caller.reply()

    assert answered.status == 200
    for refused in (known, unknown):
        assert (refused.status, refused.json()["code"]) == (417, "unsupported-expectation")
        assert refused.headers["content-type"] == "application/problem+json"


async def test_what_leads_nowhere_is_counted_as_such(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    await asked(coordinator.port, "GET /nowhere", "foo")
    metrics = (await coordinator.client.get("/metrics")).text

    assert (
        'demitasse_requests_total{code="unsupported-expectation",ending="refused",'
        'route="unknown",status="417"}' in metrics
    )
