"""The operators' API: a change is stored, in force, and remembered with who made it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from edge import calling
from stage import Stage

from coordinator.config_checks import InvalidSettings
from coordinator.credentials import admin_key
from coordinator.http.access import ADMIN
from tests.waiting import eventually
from wire.tuning import Tuning

WHO = {"Demitasse-Operator": "ada"}
KEY = "a-key-of-some-length"
BEARER = {"Authorization": f"Bearer {KEY}"}


def key_file(stage: Stage, content: str = KEY + "\n", mode: int = 0o600) -> str:
    file = stage.home / "admin.key"
    file.write_text(content)
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"promise_seconds": 0}, "promise_seconds"),
        ({"max_queue_delay_seconds": 61}, "max_queue_delay_seconds"),
        ({"queue_limit": 0}, "queue_limit"),
        ({"queue_limit": 3, "promise_seconds": 1}, "promise_seconds"),
    ],
)
async def test_a_setting_that_is_refused_is_named_as_in_the_request(
    stage: Stage, body: dict[str, float], field: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.admin.patch("/models/gate/settings", json=body)

    assert (refused.json()["code"], refused.json()["field"]) == ("invalid-parameter", field)
    assert field in refused.json()["detail"]


async def test_an_alias_that_is_refused_is_named(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.admin.put("/models/gate/aliases/NO", json={"version": "1.0.0"})

    assert (refused.json()["code"], refused.json()["field"]) == ("invalid-parameter", "alias")


@pytest.mark.parametrize("path", ["settings", "aliases/canary", "versions/1.0.0/serving"])
async def test_an_operator_whose_name_is_no_utf8_is_refused_and_changes_nothing(
    stage: Stage, path: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    before = stage.catalog.snapshot()
    bodies = {"settings": {"queue_limit": 9}, "aliases/canary": {"version": "1.0.0"}}

    refused = await coordinator.admin.request(
        "PATCH" if path == "settings" else "PUT",
        f"/models/gate/{path}",
        json=bodies.get(path, {"serving": True}),
        headers={"Demitasse-Operator": b"J\xf6rg"},
    )

    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid-parameter"
    assert refused.json()["field"] == "Demitasse-Operator"
    assert stage.catalog.snapshot() == before


async def test_new_settings_are_in_force_on_connected_hosts_when_the_answer_comes(
    stage: Stage,
) -> None:
    stage.publish("gate", queue_limit=10)
    host = await stage.host("gate")
    coordinator = await stage.coordinator(poll_interval=4.0)

    answer = await coordinator.admin.patch(
        "/models/gate/settings",
        json={"queue_limit": 3, "max_batch_size": 4, "max_queue_delay_seconds": 0.005},
    )

    assert answer.json() == {
        "model": "gate",
        "settings": {
            "queue_limit": 3,
            "promise_seconds": None,
            "max_batch_size": 4,
            "max_queue_delay_seconds": 0.005,
        },
        "revision": 1,
    }
    assert host.lane.tuning == Tuning(3, 4, 0.005, 1)
    assert host.lane.bouncer.limit == 3


async def test_new_settings_reach_the_links_of_other_coordinators_and_later_hosts(
    stage: Stage,
) -> None:
    stage.publish("gate", queue_limit=10)
    coordinator = await stage.coordinator()

    await coordinator.admin.patch("/models/gate/settings", json={"queue_limit": 3})
    host = await stage.host("gate", queue_limit=10, settings_revision=0)
    await coordinator.connected("gate")

    assert host.lane.bouncer.limit == 3


async def test_a_lowered_limit_admits_fewer_and_loses_nothing_in_flight(stage: Stage) -> None:
    stage.publish("gate", queue_limit=10)
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    coordinator = await stage.coordinator()

    first = [asyncio.create_task(coordinator.infer("gate", i)) for i in range(4)]
    async with gate.held():
        await coordinator.admin.patch("/models/gate/settings", json={"queue_limit": 3})
        refused = await coordinator.infer("gate", 9)
        assert host.lane.bouncer.occupied == 4
    with gate.open():
        answers = await asyncio.gather(*first)

    assert (refused.status_code, refused.json()["code"]) == (429, "queue-full")
    assert [each.status_code for each in answers] == [200] * 4


async def test_a_reset_puts_the_manifests_values_in_force_on_connected_hosts_and_is_remembered(
    stage: Stage,
) -> None:
    stage.publish("gate", queue_limit=10, max_batch_size=2)
    host = await stage.host("gate")
    coordinator = await stage.coordinator(poll_interval=4.0)
    other = await stage.coordinator(poll_interval=4.0)
    await coordinator.admin.patch(
        "/models/gate/settings", json={"promise_seconds": 5, "max_batch_size": 4}
    )
    assert host.lane.tuning.promise_seconds == 5
    await other.rooms.directory.refresh()

    answer = await coordinator.admin.delete("/models/gate/settings", headers=WHO)
    await other.rooms.directory.refresh()
    history = (await coordinator.admin.get("/models/gate/history")).json()["settings"]

    assert answer.json() == {
        "model": "gate",
        "settings": {
            "queue_limit": 10,
            "promise_seconds": None,
            "max_batch_size": 2,
            "max_queue_delay_seconds": 0.0,
        },
        "revision": 2,
    }
    assert host.lane.tuning == Tuning(10, 2, 0.0, 2)
    assert host.lane.bouncer.limit == 10
    assert history[-1]["changes"] == {"promise": [5, None], "max_batch_size": [4, None]}
    assert history[-1]["who"] == "ada"


async def test_a_pin_by_an_alias_that_was_removed_is_not_found_at_once(stage: Stage) -> None:
    stage.publish("gate")
    stage.publish("gate", version="2.0.0")
    for version in ("1.0.0", "2.0.0"):
        await stage.host("gate", version)
    coordinator = await stage.coordinator(poll_interval=4.0)
    await coordinator.admin.put("/models/gate/aliases/canary", json={"version": "2.0.0"})
    pinned = "/models/gate/versions/canary/infer"
    body = {"inputs": {"x": [1.0]}}
    before = await coordinator.client.post(pinned, json=body)

    removed = await coordinator.admin.delete("/models/gate/aliases/canary", headers=WHO)
    after = await coordinator.client.post(pinned, json=body)
    unpinned = await coordinator.client.post("/models/gate/versions/2.0.0/infer", json=body)
    history = (await coordinator.admin.get("/models/gate/history")).json()["aliases"]

    assert before.json()["version"] == "2.0.0"
    assert removed.json() == {"model": "gate", "alias": "canary", "version": None}
    assert (after.status_code, after.json()["code"]) == (404, "unknown-alias")
    assert after.json()["available"] == ["default"]
    assert unpinned.json()["version"] == "2.0.0"
    last = history[-1]
    assert (last["alias"], last["old_version"], last["new_version"]) == ("canary", "2.0.0", None)
    assert last["who"] == "ada"


async def test_a_model_without_its_default_is_tuned_as_before_and_asked_by_version_alone(
    stage: Stage,
) -> None:
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    await coordinator.admin.delete("/models/gate/aliases/default")
    tuned = await coordinator.admin.patch("/models/gate/settings", json={"queue_limit": 3})
    bare = await coordinator.infer("gate", 1)
    listed = (await coordinator.client.get("/models")).json()["models"][0]

    assert tuned.json()["settings"]["queue_limit"] == 3
    assert (bare.status_code, bare.json()["code"]) == (404, "unknown-alias")
    assert (listed["default"], listed["aliases"]) == (None, {})


async def test_an_alias_moves_at_once(stage: Stage) -> None:
    stage.publish("gate")
    stage.publish("gate", version="2.0.0")
    for version in ("1.0.0", "2.0.0"):
        await stage.host("gate", version)
    coordinator = await stage.coordinator(poll_interval=4.0)

    moved = await coordinator.admin.put("/models/gate/aliases/default", json={"version": "2.0.0"})

    assert moved.json() == {"model": "gate", "alias": "default", "version": "2.0.0"}
    assert (await coordinator.infer("gate", 1)).json()["version"] == "2.0.0"


async def test_a_version_is_served_and_retired(stage: Stage) -> None:
    stage.publish("gate")
    stage.publish("gate", version="2.0.0")
    coordinator = await stage.coordinator()
    path = "/models/gate/versions/2.0.0/serving"

    served = await coordinator.admin.put(path, json={"serving": True})
    between = stage.catalog.snapshot().models["gate"].versions["2.0.0"].serving
    retired = await coordinator.admin.put(path, json={"serving": False})

    assert (served.json()["serving"], between) == (True, True)
    assert retired.json()["serving"] is False
    assert not stage.catalog.snapshot().models["gate"].versions["2.0.0"].serving


async def test_the_history_says_who_changed_what(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    await coordinator.admin.patch("/models/gate/settings", json={"queue_limit": 3}, headers=WHO)
    await coordinator.admin.patch("/models/gate/settings", json={"queue_limit": 5})

    history = (await coordinator.admin.get("/models/gate/history")).json()

    assert history["model"] == "gate"
    assert [(move["changes"], move["who"]) for move in history["settings"]] == [
        ({"queue_limit": [None, 3]}, "ada"),
        ({"queue_limit": [3, 5]}, "admin"),
    ]
    assert [(move["alias"], move["new_version"]) for move in history["aliases"]] == [
        ("default", "1.0.0")
    ]
    assert [(move["version"], move["serving"]) for move in history["serving"]] == [("1.0.0", True)]


async def test_the_fleet_is_shown_as_this_process_sees_it(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    coordinator = await stage.coordinator()
    shown = (await coordinator.client.get("/models/gate")).json()
    ready = (await coordinator.admin.get("/fleet")).json()

    await host.stop()
    await eventually(lambda: not coordinator.replica("gate").ready, "it is known to be gone")
    gone = (await coordinator.admin.get("/fleet")).json()

    known = {"replica": "gate-1.0.0-0", "model": "gate", "version": "1.0.0", "occupied": 0}
    (admission,) = shown["admission"]
    assert ready == {"replicas": [{**known, "ready": True, "admission": admission}]}
    assert gone == {"replicas": [{**known, "ready": False, "admission": None}]}


async def test_the_fleet_says_what_governs_and_the_limit_that_it_comes_to(stage: Stage) -> None:
    stage.publish("gate", queue_limit=10)
    host = await stage.host("gate")
    coordinator = await stage.coordinator()

    async def admission() -> dict[str, Any]:
        (replica,) = (await coordinator.admin.get("/fleet")).json()["replicas"]
        return dict(replica["admission"])

    by_limit = await admission()
    await coordinator.admin.patch("/models/gate/settings", json={"promise_seconds": 5})
    await eventually(
        lambda: coordinator.replica("gate").status.promise is not None, "the host says so"
    )
    by_promise = await admission()

    assert (by_limit["limit"], by_limit["promise"]) == (10, None)
    assert by_promise["promise"]["seconds"] == 5
    assert by_promise["limit"] == host.lane.bouncer.limit


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PATCH", "/models/nobody/settings", b'{"queue_limit": 3}', 404, "unknown-model"),
        ("PATCH", "/models/gate/settings", b'{"queue_limit": 0}', 400, "invalid-parameter"),
        ("PATCH", "/models/gate/settings", b"{}", 400, "invalid-parameter"),
        ("PATCH", "/models/gate/settings", b'{"queue_limit": "3"}', 400, "invalid-body"),
        ("PATCH", "/models/gate/settings", b'{"queue": 3}', 400, "invalid-body"),
        ("PATCH", "/models/gate/settings", b"{", 400, "invalid-json"),
        ("PATCH", "/models/gate/settings", b"", 400, "empty-body"),
        ("PATCH", "/models/gate/settings", b" " * 65_537, 413, "payload-too-large"),
        ("PUT", "/models/gate/aliases/default", b'{"version": "9.9.9"}', 404, "unknown-version"),
        ("PUT", "/models/gate/aliases/NO", b'{"version": "1.0.0"}', 400, "invalid-parameter"),
        ("DELETE", "/models/nobody/settings", b"", 404, "unknown-model"),
        ("DELETE", "/models/nobody/aliases/default", b"", 404, "unknown-model"),
        ("DELETE", "/models/gate/aliases/canary", b"", 404, "unknown-alias"),
        ("PUT", "/models/gate/versions/1.0.0/serving", b'{"serving": false}', 409, "conflict"),
        ("GET", "/models/nobody/history", b"", 404, "unknown-model"),
        ("GET", "/models", b"", 404, "unknown-route"),
        ("POST", "/models/gate/settings", b"{}", 405, "method-not-allowed"),
    ],
    ids=[
        "unknown-model", "out-of-range", "nothing", "wrong-type", "unknown-key", "no-json",
        "empty", "too-large", "unknown-version", "bad-alias", "reset-of-nobody",
        "alias-of-nobody", "no-such-alias", "in-use", "history-of-nobody", "public-route",
        "wrong-method",
    ],
)  # fmt: skip
async def test_a_refusal_is_a_problem_with_a_code_and_changes_nothing(
    stage: Stage, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    before = stage.catalog.snapshot()

    refused = await coordinator.admin.request(
        method, path, content=body, headers={"Content-Type": "application/json"}
    )

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["request_id"]
    assert stage.catalog.snapshot() == before


async def test_what_is_unknown_is_refused_with_what_there_is(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    model = await coordinator.admin.patch("/models/nobody/settings", json={"queue_limit": 3})
    version = await coordinator.admin.put("/models/gate/aliases/default", json={"version": "9.9.9"})
    alias = await coordinator.admin.delete("/models/gate/aliases/canary")

    assert alias.json()["available"] == ["default"]
    assert model.json()["available"] == ["gate"]
    assert version.json()["available"] == ["1.0.0"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "misdirected-request"),
        ({"Host": "evil.example:8081"}, 421, "misdirected-request"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "misdirected-request"),
        ({"Host": "127.0.0.1:evil.example"}, 421, "misdirected-request"),
        ({"Host": "127.0.0.1@evil.example"}, 421, "misdirected-request"),
        ({"Host": "localhost:"}, 421, "misdirected-request"),
        ({"Host": "[::1].evil.example"}, 421, "misdirected-request"),
        ({"Host": "[::1"}, 421, "misdirected-request"),
        ({"Host": "[localhost]"}, 421, "misdirected-request"),
        ({"Host": "[127.0.0.1]"}, 421, "misdirected-request"),
        ({"Host": "[fe80::1%evil.example]"}, 421, "misdirected-request"),
        ({"Host": ""}, 421, "misdirected-request"),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 403, "foreign-origin"),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, 403, "foreign-origin"),
        ({"Origin": "null"}, 403, "foreign-origin"),
        ({"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        ({"Content-Type": ""}, 415, "unsupported-media-type"),
    ],
)
async def test_what_a_page_could_have_a_browser_send_is_refused_and_changes_nothing(
    stage: Stage, headers: dict[str, str], status: int, code: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    before = stage.catalog.snapshot()

    refused = await coordinator.admin.patch(
        "/models/gate/settings",
        content=b'{"queue_limit": 3}',
        headers={"Content-Type": "application/json", **headers},
    )

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert stage.catalog.snapshot() == before


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example", 403),
        (b"Host: localhost\r\nOrigin: http://evil.example\r\nOrigin: http://localhost", 403),
        (b"Host: localhost\r\nHost: evil.example", 400),
    ],
)
async def test_of_a_field_that_comes_twice_both_are_looked_at(
    stage: Stage, lines: bytes, status: int
) -> None:
    coordinator = await stage.coordinator()

    async with calling(coordinator.admin.base_url.port or 0) as caller:
        await caller.send(b"GET /fleet HTTP/1.1\r\n" + lines + b"\r\n\r\n")
        refused = await caller.reply()

    assert refused.status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8081"},
        {"Host": "[::1]:8081"},
        {"Host": "LOCALHOST:8081"},
        {"Host": "Ops.Internal:8081"},
        {"Host": "localhost:8081", "Origin": "http://localhost:8081"},
    ],
    ids=["ipv4", "ipv6", "localhost", "its-name", "its-own-origin"],
)
async def test_it_answers_to_addresses_and_to_its_own_names(
    stage: Stage, headers: dict[str, str]
) -> None:
    coordinator = await stage.coordinator(admin_host="ops.internal", admin_key_file=key_file(stage))

    answer = await coordinator.admin.get("/fleet", headers={**headers, **BEARER})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "Bearer"},
    ],
    ids=["none", "no scheme", "another scheme", "longer", "shorter", "no text", "empty"],
)
async def test_where_there_is_a_key_every_route_wants_it(
    stage: Stage, headers: dict[str, str]
) -> None:
    coordinator = await stage.coordinator(admin_key_file=key_file(stage))

    for method, path in sorted(ADMIN):
        refused = await coordinator.admin.request(method, path, headers=headers)

        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated"), path
        assert refused.headers["www-authenticate"] == "Bearer"
        assert KEY not in refused.text


async def test_with_its_key_it_answers(stage: Stage) -> None:
    coordinator = await stage.coordinator(admin_key_file=key_file(stage))

    assert (await coordinator.admin.get("/fleet", headers=BEARER)).status_code == 200


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("short", 0o600, "holds 5 bytes; a secret has 16 to 256"),
        ("with a space in its middle", 0o600, "without spaces"),
        ("ünprintable-to-some-people", 0o600, "printable ASCII"),
        ("x" * 257, 0o600, "holds 257 bytes; a secret has 16 to 256"),
        (KEY, 0o644, "can be read by all users: `chmod 600`"),
        (KEY, 0o620, "can be written by other users"),
    ],
)
def test_a_key_that_is_refused_is_not_shown(
    stage: Stage, content: str, mode: int, why: str
) -> None:
    settings = replace(stage.settings, admin_key_file=key_file(stage, content, mode))

    with pytest.raises(InvalidSettings, match=why) as refused:
        admin_key(settings)

    assert str(refused.value).startswith(f"admin_key_file: {settings.admin_key_file} ")
    assert content not in str(refused.value)


@pytest.mark.parametrize("body", [b'{"queue_l\xe7mit": 8}', b"\xff"])
async def test_a_body_that_is_no_utf8_is_no_json(stage: Stage, body: bytes) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.admin.patch(
        "/models/gate/settings", content=body, headers={"Content-Type": "application/json"}
    )

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-json")


async def test_a_body_is_asked_for_once(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    body = b'{"queue_limit": 3}'

    async with calling(coordinator.admin.base_url.port or 0) as caller:
        await caller.send(
            b"PATCH /models/gate/settings HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        first = await caller.head()
        await caller.send(body)
        second = await caller.reply()

    assert (first[0], second.status) == (100, 200)
