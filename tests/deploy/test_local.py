"""The whole platform on this machine: the real supervisor, and real processes below it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from filelock import FileLock
from sqlalchemy import select, text

import deploy.coordinator
from coordinator.config import Settings
from deploy.control import Refused
from deploy.fronts import READY_SECONDS
from deploy.local import DeploymentError, LocalDeployment
from deploy.status import LOCK_FILE, NOTHING, ProcessInfo, read_status
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases, Replica
from storage.engine import migrate, open_engine, reading, writing
from storage.tables import replicas
from tests.processes import alive
from tests.waiting import PATIENCE_SECONDS, eventually

GATE = Path(__file__).parent.parent / "coordinator" / "models" / "gate"
_BODY = b'{"inputs": {"x": [1]}}'


class Home:
    """A home folder with a registry. Its environments are shared by all tests of a session."""

    def __init__(self, path: Path, environments: Path) -> None:
        self.path = path
        (path / "envs").symlink_to(environments)
        self.settings = Settings(
            home=path, port=0, admin_port=0, decoder_workers=1, poll_interval=0.1, drain_grace=2.0
        )
        self.engine = open_engine(self.settings.registry_url)
        migrate(self.engine)
        self.catalog = Catalog(self.engine, ArtifactStore(path / "artifacts"))

    def publish(self, name: str, version: str = "1.0.0", requirements: str = "") -> None:
        package = self.path / "packages" / f"{name}-{version}"
        shutil.copytree(GATE, package)
        manifest = package / "model.toml"
        content = manifest.read_text().replace('name = "gate"', f'name = "{name}"')
        content = content.replace('version = "1.0.0"', f'version = "{version}"')
        if requirements:
            (package / "requirements.txt").write_text(requirements)
            content += '\n[environment]\nrequirements = "requirements.txt"\n'
        manifest.write_text(content)
        self.catalog.publish(package, who="test")

    def leases(self) -> dict[str, Replica]:
        return {each.id: each for each in Leases(self.engine).alive()}

    def lease_ends(self) -> dict[str, float]:
        with reading(self.engine) as connection:
            return dict(connection.execute(select(replicas.c.id, replicas.c.expires_at)).all())


class Up:
    """A deployment that runs, and a bell that rings whenever something about it has changed."""

    def __init__(self, home: Home, models: Sequence[str] = ()) -> None:
        self.home = home
        self._bell = asyncio.Event()
        self.deployment = LocalDeployment(
            home.settings,
            models=models,
            reread=lambda: home.settings,
            on_change=self._bell.set,
        )
        self.stop, self.abort = asyncio.Event(), asyncio.Event()
        self.running = asyncio.create_task(self.deployment.run(self.stop, self.abort))

    def of(self, role: str, model: str | None = None) -> list[ProcessInfo]:
        return [
            each
            for each in self.deployment.processes()
            if each.role == role and model in (None, each.model)
        ]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    self._bell.clear()
                    await self._bell.wait()
        except TimeoutError:
            pytest.fail(f"waited in vain until {what}: {self.deployment.processes()}")

    async def becomes(self, state: str, *models: str) -> None:
        await self.until(
            lambda: all(
                [each.state for each in self.of("minion", model)] == [state] for model in models
            ),
            f"{models} are {state}",
        )

    async def decodes(self) -> None:
        await self.until(
            lambda: [each.state for each in self.of("decoder")] == ["ready"], "it is ready"
        )

    async def ask(self, model: str, version: str | None = None) -> Any:
        """Waits for the answer to be a good one: the coordinator learns of replicas by polling."""
        path = f"/models/{model}/infer"
        if version is not None:
            path = f"/models/{model}/versions/{version}/infer"
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE_SECONDS):
            while True:
                # Port 0 stands for any until one was taken.
                url = f"http://127.0.0.1:{self.deployment.settings.port}{path}"
                with suppress(httpx.TransportError):
                    answer = await client.post(url, json={"inputs": {"x": [1.0]}})
                    if answer.status_code == 200:
                        return answer.json()
                await asyncio.sleep(0.02)

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.running


class HalfSent(NamedTuple):
    """A request for `gate` that was let in, and lacks the rest of its body."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, platform: Up) -> HalfSent:
        self = cls(*await asyncio.open_connection("127.0.0.1", platform.deployment.settings.port))
        head = b"POST /models/gate/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.writer.write(head + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY[:1])
        await self.writer.drain()
        return self

    async def answered(self) -> bytes:
        """The first line of the answer, once the rest is sent."""
        self.writer.write(_BODY[1:])
        line = await self.reader.readline()
        self.writer.close()
        return line


@asynccontextmanager
async def up(home: Home, *models: str) -> AsyncIterator[Up]:
    """Ended at once where the test has not ended it."""
    up = Up(home, models)
    try:
        yield up
    finally:
        up.stop.set()
        up.abort.set()
        await asyncio.wait([up.running])


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def home(tmp_path: Path, environments: Path) -> Iterator[Home]:
    home = Home(tmp_path, environments)
    yield home
    home.engine.dispose()


async def test_what_is_served_comes_up_answers_and_leaves_nothing_behind(home: Home) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.becomes("ready", "gate")
        answer = await platform.ask("gate")
        await platform.until(lambda: platform.of("worker", "gate"), "its worker is seen")
        processes = platform.deployment.processes()
        written = read_status(home.path)

        platform.stop.set()
        await platform.ended()

    assert answer["output"] == {"x": [1.0]}
    assert {each.role for each in processes} == {
        "supervisor", "coordinator", "decoder", "minion", "template", "worker",
    }  # fmt: skip
    assert written.running
    assert written.url == f"http://127.0.0.1:{platform.deployment.settings.port}"
    for each in processes:
        if each.role != "supervisor" and each.pid is not None:
            await eventually(lambda pid=each.pid: not alive(pid), f"{each.role} is gone")
    assert read_status(home.path) == NOTHING
    assert home.leases() == {}
    assert not list((home.path / "run").glob("*.sock"))


@pytest.mark.parametrize("port", ["port", "admin_port"])
async def test_a_port_in_use_is_refused_with_the_flag_that_chooses_another(
    home: Home, port: str
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken: dict[str, Any] = {port: listener.getsockname()[1]}
        home.settings = replace(home.settings, **taken)

        async with up(home) as platform:
            with pytest.raises(DeploymentError, match=f"choose another --{port}".replace("_", "-")):
                await platform.ended()


async def test_a_second_one_on_a_home_is_refused(home: Home) -> None:
    async with up(home) as first:
        await first.until(lambda: first.of("coordinator"), "it runs")

        async with up(home) as second:
            with pytest.raises(DeploymentError, match="in use by another `demitasse up`"):
                await second.ended()
        assert first.of("coordinator")[0].pid


async def test_a_home_that_is_looked_at_for_a_tenth_of_a_second_of_real_time_is_not_in_use(
    home: Home,
) -> None:
    # As whoever reads the status does, to see whether somebody else holds it.
    lock = FileLock(home.path / "run" / LOCK_FILE, thread_local=False)
    (home.path / "run").mkdir()
    lock.acquire()
    threading.Timer(0.1, lock.release).start()

    async with up(home) as platform:
        await platform.until(lambda: platform.of("coordinator"), "it runs all the same")


async def test_an_unknown_model_is_refused_before_anything_starts(home: Home) -> None:
    async with up(home, "nobody@1") as platform:
        with pytest.raises(DeploymentError, match="--models: there is no model 'nobody'"):
            await platform.ended()

        assert not platform.of("coordinator")


async def test_an_environment_that_cannot_be_built_fails_its_model_alone(home: Home) -> None:
    home.publish("good")
    home.publish("bad", requirements="msgpack==0.0.999\n")
    async with up(home) as platform:
        await platform.becomes("ready", "good")
        await platform.becomes("failed", "bad")
        (failed,) = platform.of("minion", "bad")

        assert "msgpack==0.0.999" in failed.detail
        assert "ends with:" in failed.detail
        assert failed.detail in (home.path / "logs" / "bad-1.0.0-0.log").read_text()
        assert (await platform.ask("good"))["model"] == "good"


async def test_a_version_that_is_served_joins_and_one_that_is_retired_leaves(home: Home) -> None:
    home.publish("gate")
    home.publish("gate", "2.0.0")
    async with up(home) as platform:
        await platform.becomes("ready", "gate")
        (before,) = platform.of("minion", "gate")

        home.catalog.set_alias("gate", "default", "2.0.0", who="test")
        await platform.until(lambda: len(platform.of("minion", "gate")) == 2, "both are there")
        assert (await platform.ask("gate", "2.0.0"))["version"] == "2.0.0"
        assert (await platform.ask("gate", "1.0.0"))["version"] == "1.0.0"
        assert (await platform.ask("gate"))["version"] == "2.0.0"
        home.catalog.retire("gate", "1.0.0", who="test")
        await platform.until(lambda: len(platform.of("minion", "gate")) == 1, "one is left")
        await eventually(lambda: not alive(before.pid or 0), "its process is gone")

        assert [each.version for each in platform.of("minion", "gate")] == ["2.0.0"]
        assert "gate-1.0.0-0" not in home.leases()


async def test_a_version_that_is_served_again_while_it_drains_is_reachable(home: Home) -> None:
    home.publish("gate")
    home.publish("gate", "2.0.0")
    home.catalog.serve("gate", "2.0.0", who="test")
    async with up(home) as platform:
        await platform.ask("gate", "2.0.0")
        (first,) = [each for each in platform.of("minion") if each.version == "2.0.0"]
        os.kill(first.pid or 0, 19)  # SIGSTOP: it takes its time to drain

        home.catalog.retire("gate", "2.0.0", who="test")
        await platform.until(lambda: len(platform.of("minion")) == 1, "it is on its way out")
        home.catalog.serve("gate", "2.0.0", who="test")
        await platform.until(lambda: len(platform.of("minion")) == 2, "it is wanted again")
        await platform.ask("gate", "2.0.0")
        await eventually(lambda: not alive(first.pid or 0), "the first is gone")
        os.kill(platform.of("coordinator")[0].pid or 0, 9)  # its successor has no link yet

        assert (await platform.ask("gate", "2.0.0"))["version"] == "2.0.0"


async def test_a_killed_host_is_started_again_with_a_new_epoch(home: Home) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.ask("gate")
        before = home.leases()["gate-1.0.0-0"]

        os.kill(before.pid, 9)
        await eventually(
            lambda: home.leases()["gate-1.0.0-0"].epoch > before.epoch, "it is listed anew"
        )
        await platform.ask("gate")

        assert home.leases()["gate-1.0.0-0"].pid != before.pid
        assert home.leases()["gate-1.0.0-0"].address == before.address


async def test_a_host_that_hangs_for_seconds_of_real_time_is_started_again(home: Home) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.becomes("ready", "gate")
        (before,) = platform.of("minion", "gate")

        os.kill(before.pid or 0, 19)  # SIGSTOP: it lives, and answers nobody
        await platform.becomes("hung", "gate")
        await platform.becomes("ready", "gate")

        assert platform.of("minion", "gate")[0].pid != before.pid
        assert not alive(before.pid or 0)
        assert (await platform.ask("gate"))["model"] == "gate"


async def test_a_lease_is_left_alone_until_a_third_of_it_is_over(home: Home) -> None:
    home.settings = replace(home.settings, lease_ttl=600.0)
    home.publish("gate")
    async with up(home) as platform:
        await platform.becomes("ready", "gate")
        before = home.lease_ends()["gate-1.0.0-0"]

        home.publish("other")
        await platform.becomes("ready", "other")  # after several looks of the supervisor

        assert home.lease_ends()["gate-1.0.0-0"] == before


async def test_a_killed_coordinator_is_started_again(home: Home) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.ask("gate")
        (before,) = platform.of("coordinator")

        os.kill(before.pid or 0, 9)
        await platform.until(
            lambda: platform.of("coordinator")[0].pid not in (None, before.pid), "it is back"
        )

        assert (await platform.ask("gate"))["model"] == "gate"


async def test_coordinators_are_replaced_and_those_of_before_are_gone(home: Home) -> None:
    home.settings = replace(home.settings, processes=2)
    home.publish("gate")
    said: list[str] = []
    async with up(home) as platform:
        await platform.ask("gate")
        before = {each.pid for each in platform.of("coordinator")}

        await platform.deployment.restart(said.append)

        after = [each.pid for each in platform.of("coordinator")]
        assert len(after) == 2
        assert not before & set(after)
        assert not any(alive(pid or 0) for pid in before)
        told = read_status(home.settings.home).processes
        assert {each.pid for each in told if each.role == "coordinator"} == set(after)
        assert (await platform.ask("gate"))["model"] == "gate"
    assert said == ["coordinator 0 is replaced", "coordinator 1 is replaced"]


def coordinators_beside(platform: Up, before: list[int | None]) -> list[int]:
    """The ids of those that were not there before."""
    pids = [each.pid for each in platform.of("coordinator")]
    return [pid for pid in pids if pid is not None and pid not in before]


async def two_coming(
    platform: Up,
) -> tuple[list[int | None], int, int, asyncio.Task[None]]:
    """Two coordinators are being replaced: they, the successor that is ready, the one that is not
    yet, and the restart."""
    await platform.decodes()
    before = [each.pid for each in platform.of("coordinator")]
    coming = partial(coordinators_beside, platform, before)
    restart = asyncio.create_task(platform.deployment.restart(lambda line: None))
    await platform.until(coming, "the first successor")
    first = coming()[0]
    await platform.until(lambda: set(coming()) - {first}, "it is ready, and the second comes")
    second = next(pid for pid in coming() if pid != first)
    return before, first, second, restart


async def test_where_one_successor_fails_all_those_of_before_stay(home: Home) -> None:
    home.settings = replace(home.settings, processes=2)
    async with up(home) as platform:
        before, first, second, restart = await two_coming(platform)
        os.kill(second, 9)
        with pytest.raises(Refused, match="coordinator 1 was not ready in time: it ended"):
            await restart

        assert [each.pid for each in platform.of("coordinator")] == before
        assert not alive(first)
        assert not alive(second)


async def test_where_a_successor_ends_before_the_others_are_ready_all_those_of_before_stay(
    home: Home,
) -> None:
    home.settings = replace(home.settings, processes=2)
    async with up(home) as platform:
        before, first, _, restart = await two_coming(platform)
        os.kill(first, 9)
        with pytest.raises(Refused, match="coordinator 0 was ready, and ended"):
            await restart

        assert [each.pid for each in platform.of("coordinator")] == before


async def test_where_a_successor_cannot_be_started_that_is_said_and_the_others_leave(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.settings = replace(home.settings, processes=2)
    async with up(home) as platform:
        await platform.decodes()
        before = [each.pid for each in platform.of("coordinator")]
        pipe, made = os.pipe, []

        def pipe_once() -> tuple[int, int]:
            if sys._getframe(1).f_code.co_filename != deploy.coordinator.__file__:
                return pipe()
            made.append(1)
            if len(made) > 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return pipe()

        monkeypatch.setattr(os, "pipe", pipe_once)
        with pytest.raises(Refused, match="coordinator 1 could not be started: Too many open"):
            await platform.deployment.restart(lambda line: None)

        assert [each.pid for each in platform.of("coordinator")] == before


async def test_settings_are_taken_over_by_new_coordinators_or_not_at_all(home: Home) -> None:
    home.publish("gate")
    said: list[str] = []
    async with up(home) as platform:
        await platform.ask("gate")
        [before] = platform.of("coordinator")

        templates = home.settings.templates
        home.settings = replace(home.settings, max_json_bytes=10, templates=templates + 1)
        with pytest.raises(Refused, match="templates cannot change while"):
            await platform.deployment.reload(said.append)
        assert platform.of("coordinator") == [before]
        assert (await platform.ask("gate"))["model"] == "gate"

        home.settings = replace(home.settings, templates=templates)
        await platform.deployment.reload(said.append)
        url = f"http://127.0.0.1:{platform.deployment.settings.port}/models/gate/infer"
        async with httpx.AsyncClient(trust_env=False) as client:
            refused = await client.post(url, json={"inputs": {"x": [1.0]}})
        [after] = platform.of("coordinator")
        await platform.deployment.reload(said.append)
        assert platform.of("coordinator") == [after]

    assert refused.status_code == 413
    assert said == [
        "coordinator 0 is replaced",
        "in force now: max_json_bytes",
        "no setting has changed; `demitasse restart` has files with secrets read again",
    ]


async def test_stopping_does_not_wait_for_coordinators_that_are_being_replaced(home: Home) -> None:
    async with up(home) as platform:
        await platform.decodes()
        [decoder] = platform.of("decoder")
        os.kill(decoder.pid or 0, 19)  # no successor is ready without it

        restart = asyncio.create_task(platform.deployment.restart(lambda line: None))
        await platform.until(lambda: len(platform.of("coordinator")) == 2, "the successor")
        pids = [each.pid or 0 for each in platform.of("coordinator")]
        restart.cancel()
        platform.stop.set()
        await platform.ended()

        assert not any(map(alive, pids))


async def test_a_predecessor_has_the_grace_that_it_was_started_with(home: Home) -> None:
    home.settings = replace(home.settings, drain_grace=PATIENCE_SECONDS)
    home.publish("gate")
    async with up(home) as platform:
        await platform.ask("gate")
        request = await HalfSent.to(platform)
        [before] = platform.of("coordinator")

        home.settings = replace(home.settings, drain_grace=0.0)
        reload = asyncio.create_task(platform.deployment.reload(lambda line: None))
        await platform.until(
            lambda: any(
                (each.pid, each.state) == (before.pid, "draining")
                for each in platform.of("coordinator")
            ),
            "the predecessor is told to go",
        )
        done, _ = await asyncio.wait([reload], timeout=2.0)  # the grace of those who come is over
        answer = await request.answered()
        await reload

    assert not done
    assert answer == b"HTTP/1.1 200 OK\r\n"


async def test_neither_disk_nor_database_need_be_there_for_what_is_in_progress_to_be_finished(
    home: Home,
) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.ask("gate")
        request = await HalfSent.to(platform)
        (home.settings.home / "run" / "status.json.new").mkdir()
        with writing(home.engine) as connection:
            connection.execute(text("ALTER TABLE replicas RENAME TO away"))

        platform.stop.set()
        await platform.until(
            lambda: [each.state for each in platform.of("coordinator")] == ["draining"], "it stops"
        )
        answer = await request.answered()
        await platform.ended()

    assert answer == b"HTTP/1.1 200 OK\r\n"
    assert platform.deployment.finished


async def test_a_coordinator_that_was_killed_before_the_stop_leaves_nothing_unfinished_in_it(
    home: Home,
) -> None:
    async with up(home) as platform:
        await platform.decodes()
        [coordinator] = platform.of("coordinator")
        os.kill(coordinator.pid or 0, 9)
        await platform.until(
            lambda: [each.state for each in platform.of("coordinator")] == ["restarting"], "it ends"
        )
        platform.stop.set()
        await platform.ended()

    assert platform.deployment.finished


async def test_stopping_ends_a_reload_and_refuses_another(home: Home) -> None:
    async with up(home) as platform:
        await platform.decodes()
        [decoder] = platform.of("decoder")
        os.kill(decoder.pid or 0, 19)  # no successor is ready without it
        home.settings = replace(home.settings, max_json_bytes=10)
        reload = asyncio.create_task(platform.deployment.reload(lambda line: None))
        await platform.until(lambda: len(platform.of("coordinator")) == 2, "the successor")
        pids = [each.pid or 0 for each in platform.of("coordinator")]

        platform.stop.set()
        with pytest.raises(Refused, match="the platform is being stopped"):
            async with asyncio.timeout(READY_SECONDS / 2):
                await reload
        with pytest.raises(Refused, match="the platform is being stopped"):
            await platform.deployment.reload(lambda line: None)
        await platform.ended()

        assert not any(map(alive, pids))


async def test_what_is_not_among_the_models_to_serve_is_not_found(home: Home) -> None:
    home.publish("gate")
    home.publish("gate", "2.0.0")
    home.publish("other")
    home.catalog.serve("gate", "2.0.0", who="test")
    async with up(home, "gate") as platform:
        await platform.ask("gate")
        url = f"http://127.0.0.1:{platform.deployment.settings.port}/models"
        async with httpx.AsyncClient(trust_env=False) as client:
            refused = [
                await client.post(f"{url}/{path}/infer", json={"inputs": {"x": [1.0]}})
                for path in ("other", "gate/versions/2.0.0")
            ]

        assert [each.status_code for each in refused] == [404, 404]
        assert [each.json()["code"] for each in refused] == ["version-not-served"] * 2
        assert [each.model for each in platform.of("minion")] == ["gate"]


async def test_a_model_that_was_named_and_then_retired_leaves_and_all_else_goes_on(
    home: Home,
) -> None:
    home.publish("gate")
    home.publish("gate", "2.0.0")
    home.catalog.serve("gate", "2.0.0", who="test")
    async with up(home, "gate", "gate@2.0.0") as platform:
        await platform.until(lambda: len(platform.of("minion", "gate")) == 2, "both are there")

        home.catalog.retire("gate", "2.0.0", who="test")
        await platform.until(lambda: len(platform.of("minion", "gate")) == 1, "one is left")

        assert (await platform.ask("gate"))["version"] == "1.0.0"


async def test_a_registry_that_is_away_is_shown_and_does_not_end_the_platform(home: Home) -> None:
    home.publish("gate")
    async with up(home) as platform:
        await platform.becomes("ready", "gate")
        with writing(home.engine) as connection:
            connection.execute(text("ALTER TABLE replicas RENAME TO away"))
        await platform.until(lambda: platform.of("supervisor")[0].detail, "the trouble is shown")
        shown = platform.of("supervisor")[0].detail
        with writing(home.engine) as connection:
            connection.execute(text("ALTER TABLE away RENAME TO replicas"))
        await platform.until(lambda: not platform.of("supervisor")[0].detail, "it is over")

        assert "no such table" in shown
        assert (await platform.ask("gate"))["model"] == "gate"


async def test_stopping_does_not_wait_for_an_environment_that_is_being_built(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.publish("slow", requirements="nobody-made-this==1.0\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as index:  # takes calls, says nothing
        url = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        async with up(home) as platform:
            await platform.until(
                lambda: (
                    "installing" in platform.of("minion", "slow")[0].detail
                    if platform.of("minion", "slow")
                    else False
                ),
                "it is being installed",
            )
            installers = processes_with("nobody-made-this", str(home.path))

            platform.stop.set()
            async with asyncio.timeout(15):
                await platform.running

    await eventually(
        lambda: not any(map(alive, installers)), "what was building is gone with the supervisor"
    )


def processes_with(*words: str) -> list[int]:
    """Processes with one of the words in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word in command for word in words) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
