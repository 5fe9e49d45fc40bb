"""A host used alone: its HTTP surface, and its life as a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from minion.host.server import create_app
from minion.host.spec import InputSpec, ServiceSpec, read_spec, write_spec
from tests.minion.service import DEADLINE_SECONDS, POISON, Gate, service
from tests.processes import alive
from tests.waiting import eventually

Client = aiohttp.ClientSession
StartHost = Callable[..., Awaitable[Client]]


def client_of(socket: Path) -> Client:
    return aiohttp.ClientSession(
        "http://minion",
        connector=aiohttp.UnixConnector(str(socket)),
        timeout=aiohttp.ClientTimeout(DEADLINE_SECONDS),
    )


@pytest.fixture
async def start_host(tmp_path: Path) -> AsyncIterator[StartHost]:
    """Starts hosts in this process and gives back a client of each."""
    runners: list[web.AppRunner] = []
    clients: list[Client] = []

    async def start(model: str, *, wait: bool = True, **changes: Any) -> Client:
        socket = tmp_path / f"{len(runners)}.sock"
        app = create_app(service(model, **changes), grace_seconds=5.0)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        runners.append(runner)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        clients.append(client_of(socket))
        if wait:
            await ready(clients[-1])
        return clients[-1]

    yield start
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()


async def ready(client: Client) -> None:
    async def is_ready() -> bool:
        return (await client.get("/readyz")).status == 200

    await eventually(is_ready, "the host is ready")


async def infer(client: Client, value: Any, **parameters: Any) -> tuple[int, Any]:
    body = {"inputs": {"x": value}, "parameters": parameters}
    async with client.post("/infer", json=body) as answer:
        return answer.status, await answer.json()


async def status(client: Client) -> Any:
    return await (await client.get("/status")).json()


async def occupied(client: Client, count: int) -> None:
    async def are_in() -> bool:
        return bool((await status(client))["occupied"] == count)

    await eventually(are_in, f"{count} are in")


# Health.


async def test_a_host_lives_before_its_model_is_ready(start_host: StartHost) -> None:
    host = await start_host("LoadsForEver", wait=False)

    assert (await host.get("/livez")).status == 200
    assert (await host.get("/readyz")).status == 503
    code, problem = await infer(host, [1])
    assert (code, problem["code"]) == (503, "not-ready")


async def test_over_http_a_failed_lane_is_a_503_with_the_time_of_the_next_try(
    start_host: StartHost, tmp_path: Path
) -> None:
    options = {"mark": str(tmp_path / "mark")}
    client = await start_host("LoadsWhileMarked", wait=False, options=options)

    async def failed() -> bool:
        return bool((await status(client))["failed"])

    await eventually(failed, "it has failed")
    code, problem = await infer(client, [1])

    assert (code, problem["code"]) == (503, "not-ready")
    assert 20.0 < problem["retry_after"] <= 30.0


async def test_a_host_is_ready_after_warmup(start_host: StartHost) -> None:
    host = await start_host("Echo")

    assert (await (await host.get("/readyz")).text()) == "ready\n"


async def test_status_tells_who_works_here(start_host: StartHost) -> None:
    host = await start_host("Echo", workers=1)

    told = await status(host)

    assert (told["model"], told["version"], told["replica"]) == ("zoo", "1.0.0", "zoo-1.0.0-0")
    assert [worker["state"] for worker in told["workers"]] == ["idle"]
    assert told["settings"] == {
        "queue_limit": 64,
        "promise_seconds": None,
        "max_batch_size": 8,
        "max_queue_delay_seconds": 0.0,
    }


async def test_metrics_follow_the_lane(start_host: StartHost) -> None:
    host = await start_host("Raises")
    await infer(host, [1])
    await infer(host, [POISON])

    text = await (await host.get("/metrics")).text()

    lines = text.splitlines()
    assert "demitasse_minion_ready 1.0" in lines
    assert "demitasse_minion_admitted_total 2.0" in lines
    assert 'demitasse_minion_examples_total{ending="completed"} 1.0' in lines
    assert 'demitasse_minion_examples_total{ending="failed"} 1.0' in lines
    assert "demitasse_minion_occupied 0.0" in lines
    assert "demitasse_minion_batch_size_count 1.0" in lines
    assert "demitasse_minion_batch_size_sum 1.0" in lines
    assert 'demitasse_minion_batch_size_bucket{le="1.0"} 1.0' in lines
    assert 'demitasse_minion_batch_seconds_bucket{le="+Inf"} 1.0' in lines


async def test_what_was_not_computed_for_nobody_is_a_metric(start_host: StartHost) -> None:
    host = await start_host("Echo")

    lines = (await (await host.get("/metrics")).text()).splitlines()

    for ending in ("expired", "abandoned"):
        assert f'demitasse_minion_saved_device_seconds_total{{ending="{ending}"}} 0.0' in lines


# Inference.


async def test_over_http_too_the_urgent_go_before_those_in_bulk(
    start_host: StartHost, gate: Gate
) -> None:
    host = await start_host("Gated", options=gate.options, max_batch_size=1)
    order: list[str] = []

    async def ask(name: str, urgency: str, others: int) -> asyncio.Task[None]:
        async def answered() -> None:
            headers = {"Demitasse-Class": urgency}
            async with host.post("/infer", json={"inputs": {"x": [1]}}, headers=headers) as reply:
                assert reply.status == 200
            order.append(name)

        async def waits() -> bool:
            return (await status(host))["occupied"] == others + 1

        task = asyncio.create_task(answered())
        await eventually(waits, f"{name} waits")
        return task

    asked = [
        await ask("running", "bulk", 0),
        await ask("bulk", "bulk", 1),
        await ask("urgent", "interactive", 2),
    ]
    for done in range(1, 4):
        gate.open_for(1)
        await eventually(lambda: len(order) == done, "one more is answered")  # noqa: B023
    await asyncio.gather(*asked)

    assert order == ["running", "urgent", "bulk"]


@pytest.mark.parametrize(
    "headers", [{"Demitasse-Class": "soon"}, {"Demitasse-Caller": "a b"}], ids=["class", "caller"]
)
async def test_what_is_no_class_or_no_caller_is_refused(
    start_host: StartHost, headers: dict[str, str]
) -> None:
    host = await start_host("Echo")

    async with host.post("/infer", json={"inputs": {"x": [1]}}, headers=headers) as reply:
        told = await reply.json()

    assert (reply.status, told["code"]) == (400, "invalid-request")


async def test_one_example_is_answered(start_host: StartHost) -> None:
    host = await start_host("Echo")

    code, answer = await infer(host, [2.5], words=["a"])

    assert code == 200
    assert answer["output"]["x"] == 2.5
    assert answer["output"]["parameters"] == {"words": ["a"]}
    assert answer["batch_size"] == 1
    assert set(answer["timeline_ms"]) == {"queue", "predict"}


async def test_arrays_are_answered_as_nested_lists(start_host: StartHost) -> None:
    host = await start_host("Arrays")

    code, answer = await infer(host, [21])

    assert (code, answer["output"]) == (200, {"doubled": [42.0], "ramp": [0, 1, 2], "empty": []})


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", -1),
        ("uint8", 256),
        ("uint8", 2.5),
        ("uint8", "1"),
        ("uint8", None),
        ("uint64", -1),
        ("int64", 2**63),
        ("float32", "1"),
        ("float32", 1e39),
        ("float32", True),
        ("bool", 2),
    ],
)
async def test_a_value_that_would_not_stay_itself_is_refused(
    start_host: StartHost, dtype: str, value: Any
) -> None:
    host = await start_host("Echo", inputs={"x": InputSpec(dtype, (1,))})

    code, problem = await infer(host, [value])

    assert (code, problem["detail"]) == (400, f"input 'x': the values are not all {dtype}")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint8", 255), ("uint64", 2**64 - 1), ("int64", -(2**63)), ("float32", 3), ("bool", True)],
)
async def test_a_value_that_fits_is_taken(start_host: StartHost, dtype: str, value: Any) -> None:
    host = await start_host("Echo", inputs={"x": InputSpec(dtype, (1,))})

    code, answer = await infer(host, [value])

    assert (code, answer["output"]["x"]) == (200, float(value))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": {"y": [1]}}',
        b'{"inputs": {"x": ["a"]}}',
        b'{"inputs": {"x": [[1], [1, 2]]}}',
        b'{"inputs": {"x": {"a": 1}}}',
        b'{"inputs": {"x": [1]}, "parameters": []}',
        b'{"inputs": {"x": [1]}, "parameters": {"n": 99999999999999999999}}',
        b'{"inputs": {"x": [1]}, "parameters": {"n": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b'{"inputs": {"x": [1]}, "parameters": {"n": ' + b"[" * 9000 + b"]" * 9000 + b"}}",
        b'{"inputs": {"x": ' + b"[" * 9000 + b"]" * 9000 + b"}}",
        b"\xff\xfe",
    ],
    ids=lambda body: body[:48].decode("latin-1"),
)
async def test_what_is_no_request_is_a_400(start_host: StartHost, body: bytes) -> None:
    host = await start_host("Echo")

    async with host.post("/infer", data=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid-request")
    assert (await infer(host, [1]))[0] == 200


@pytest.mark.parametrize("value", [[300], [-1]])
async def test_numbers_outside_the_dtype_are_a_400(start_host: StartHost, value: Any) -> None:
    host = await start_host("Echo", inputs={"x": InputSpec("uint8", (1,))})

    assert (await infer(host, value))[0] == 400


@pytest.mark.parametrize(
    ("model", "value", "code", "word"),
    [
        ("Refuses", [POISON], 422, "unlucky"),
        ("Raises", [POISON], 422, "model-error"),
        ("SaysNan", [POISON], 422, "invalid-output"),
        ("Echo", [1, 2], 422, "invalid-input"),
    ],
)
async def test_failures_have_a_status_and_a_word(
    start_host: StartHost, model: str, value: Any, code: int, word: str
) -> None:
    host = await start_host(model)

    answer = await infer(host, value)

    assert (answer[0], answer[1]["code"]) == (code, word)


@pytest.mark.parametrize("word", ["queue-full", "draining", "deadline-exceeded"])
async def test_a_model_that_calls_its_input_invalid_does_not_speak_for_the_host(
    start_host: StartHost, word: str
) -> None:
    host = await start_host("Refuses", options={"word": word})

    answer = await infer(host, [POISON])

    assert (answer[0], answer[1]["code"]) == (422, "invalid-input")


async def test_past_the_limit_is_a_429_with_a_time(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", queue_limit=2, options=gate.options)
    inside = [asyncio.create_task(infer(host, [value])) for value in (1, 2)]
    await occupied(host, 2)

    async with host.post("/infer", json={"inputs": {"x": [3]}}) as refused:
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await refused.json())["code"] == "queue-full"
    gate.open_for(2)

    assert [code for code, _ in await asyncio.gather(*inside)] == [200, 200]


async def test_a_client_that_leaves_gives_its_place_back(start_host: StartHost, gate: Gate) -> None:
    host = await start_host("Gated", max_batch_size=1, options=gate.options)
    inside = asyncio.create_task(infer(host, [1]))
    await occupied(host, 1)
    leaving = asyncio.create_task(infer(host, [2]))
    await occupied(host, 2)

    leaving.cancel()
    await occupied(host, 1)
    gate.open_for(1)

    assert (await inside)[0] == 200


# Tuning.


async def test_settings_change_while_it_runs(start_host: StartHost) -> None:
    host = await start_host("Echo")

    async with host.patch("/settings", json={"queue_limit": 3}) as answer:
        assert (await answer.json())["queue_limit"] == 3

    assert (await status(host))["settings"] == {
        "queue_limit": 3,
        "promise_seconds": None,
        "max_batch_size": 8,
        "max_queue_delay_seconds": 0.0,
    }


async def test_a_promise_ends_the_queue_limit_and_a_queue_limit_the_promise(
    start_host: StartHost,
) -> None:
    host = await start_host("Echo", workers=1)

    async with host.patch("/settings", json={"promise_seconds": 5}) as answer:
        assert (await answer.json())["promise_seconds"] == 5
    told = await status(host)
    assert (told["settings"]["queue_limit"], told["settings"]["promise_seconds"]) == (None, 5)
    assert told["limit"] == 1  # nothing was measured yet, and there is one worker

    async with host.patch("/settings", json={"queue_limit": 3}):
        pass
    told = await status(host)
    assert (told["settings"]["queue_limit"], told["settings"]["promise_seconds"]) == (3, None)
    assert told["limit"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"queue_limit": 0},
        {"promise_seconds": 0},
        {"promise_seconds": 5, "queue_limit": 5},
        {"max_batch_size": 0},
        {"max_queue_delay_seconds": -1},
        {"max_queue_delay_seconds": 61},
        {"queue_limit": "many"},
        {"queue": 1},
    ],
)
async def test_settings_that_make_no_sense_change_nothing(
    start_host: StartHost, change: Any
) -> None:
    host = await start_host("Echo", wait=False)
    before = await status(host)

    async with host.patch("/settings", json=change) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid-settings")
    assert (await status(host))["settings"] == before["settings"]


# The process.


def listening(path: Path) -> bool:
    """The file alone is not enough: it is there before anybody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@asynccontextmanager
async def process(
    folder: Path, spec: ServiceSpec, *flags: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    write_spec(spec, folder / "spec.json")
    path = folder / "host.sock"
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minion.host", "--spec", str(folder / "spec.json")),
        *("--address", f"unix:{path}", "--parent-pid", str(os.getpid()), *flags),
        cwd=Path(__file__).parents[2],
    )
    try:
        await eventually(lambda: listening(path), "the host listens")
        async with client_of(path) as client:
            yield host, client
    finally:
        if host.returncode is None:
            host.kill()
        await host.wait()


async def test_a_worker_killed_in_mid_batch_costs_no_client_an_answer(
    tmp_path: Path, gate: Gate
) -> None:
    async with process(tmp_path, service("Gated", options=gate.options)) as (_, client):
        await ready(client)
        asked = [asyncio.create_task(infer(client, [value])) for value in range(5)]
        await occupied(client, 5)

        os.kill((await status(client))["workers"][0]["pid"], signal.SIGKILL)
        gate.open_for(10)
        answers = await asyncio.gather(*asked)

    assert [(code, answer["output"]["x"]) for code, answer in answers] == [
        (200, value) for value in range(5)
    ]


async def test_sigterm_answers_what_is_in_flight_and_ends(tmp_path: Path, gate: Gate) -> None:
    async with process(tmp_path, service("Gated", options=gate.options)) as (host, client):
        await ready(client)
        asked = [asyncio.create_task(infer(client, [value])) for value in range(3)]
        await occupied(client, 3)
        worker = (await status(client))["workers"][0]["pid"]

        host.send_signal(signal.SIGTERM)
        gate.open_for(3)

        assert [code for code, _ in await asyncio.gather(*asked)] == [200, 200, 200]
        assert await asyncio.wait_for(host.wait(), DEADLINE_SECONDS) == 0
    assert not alive(worker)


async def test_an_idle_host_does_not_wait_for_its_grace_to_end(tmp_path: Path) -> None:
    grace = str(3 * DEADLINE_SECONDS)
    async with process(tmp_path, service("Echo"), "--grace", grace) as (host, client):
        await ready(client)

        host.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(host.wait(), DEADLINE_SECONDS) == 0


async def test_a_host_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    write_spec(service("Echo"), tmp_path / "spec.json")
    grandparent = str(os.getppid())  # who is not the parent, as after its death
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minion.host", "--spec", str(tmp_path / "spec.json")),
        *("--address", f"unix:{tmp_path / 'host.sock'}", "--parent-pid", grandparent),
        cwd=Path(__file__).parents[2],
    )

    assert await asyncio.wait_for(host.wait(), DEADLINE_SECONDS) == 1
    assert not (tmp_path / "host.sock").exists()


@pytest.mark.parametrize(("level", "told"), [("warning", True), ("error", False)])
async def test_a_host_logs_what_its_level_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], level: str, told: bool
) -> None:
    async with process(tmp_path, service("WillNotLoad"), "--log-level", level) as (_, client):

        async def failed() -> bool:
            return (await status(client))["last_failure"] is not None

        await eventually(failed, "the worker has ended")

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    said = {(line["level"], line["logger"]) for line in lines}
    assert (("warning", "demitasse.host.keeper") in said) == told


async def test_a_spec_that_makes_no_sense_is_named_at_start(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    write_spec(service("Echo"), file)
    file.write_text(file.read_text().replace('"queue_limit": 64', '"queue_limit": 0'))
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minion.host", "--spec", str(file), "--address", "unix:/none"),
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.PIPE,
    )

    _, said = await host.communicate()

    assert host.returncode == 2
    assert b"queue_limit" in said


async def failing_start(
    tmp_path: Path, address: str, environment: dict[str, str]
) -> tuple[int | None, str]:
    """Exit status, and what was said, of a host that should not start."""
    write_spec(service("Echo"), tmp_path / "spec.json")
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minion.host", "--spec", str(tmp_path / "spec.json")),
        *("--address", address),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await host.communicate()
    return host.returncode, said.decode()


async def test_a_host_on_tcp_does_not_start_without_a_secret(tmp_path: Path) -> None:
    status, said = await failing_start(tmp_path, "tcp:127.0.0.1:0", {})

    assert status == 2
    assert "need a secret; see DEMITASSE_LINK_SECRET_FILE" in said


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        ("DEMITASSE_LINK_SECRET_FILE", "LINK_SECRET_FILE: .*read by all users"),
        ("DEMITASSE_LINK_CERTIFICATE_FILE", "LINK_KEY_FILE go together"),
        ("DEMITASSE_LINK_CA_FILE", "CERTIFICATE_FILE: is missing beside DEMITASSE_LINK_CA_FILE"),
    ],
)
async def test_a_host_with_a_file_that_will_not_do_says_which(
    tmp_path: Path, variable: str, why: str
) -> None:
    file = tmp_path / "file"
    file.write_text("open secret, open door")
    file.chmod(0o644)

    status, said = await failing_start(tmp_path, "tcp:127.0.0.1:0", {variable: str(file)})

    assert status == 2
    assert re.search(why, said)
    assert "open secret" not in said


async def test_a_host_on_a_unix_socket_is_not_concerned_by_what_coordinators_have_for_tcp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMITASSE_LINK_CA_FILE", str(tmp_path / "ca.pem"))

    async with process(tmp_path, service("Echo")) as (_, client):
        await ready(client)


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    spec = service("Echo", options={"scale": 0.5})

    write_spec(spec, tmp_path / "spec.json")

    assert read_spec(tmp_path / "spec.json") == spec
