"""up: the real platform, without a model, so that no environment has to be built."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from conftest import Command, free_ports

from coordinator.decoder import DECODER_VERSION
from tests.acceptance.platform import eventually
from tests.processes import alive


class Platform(NamedTuple):
    process: subprocess.Popen[str]
    url: str
    said: list[str]

    def until(self, text: str) -> str:
        """The line that has the text, which may have been said already."""
        assert self.process.stdout is not None
        for line in self.said:
            if text in line:
                return line
        for line in self.process.stdout:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError(f"ended without saying {text!r}: {''.join(self.said)}")


def rows(table: str) -> list[str]:
    """The lines of a table, with one blank between words."""
    return [" ".join(line.split()) for line in table.splitlines()]


@contextmanager
def started(
    environment: dict[str, str], port: int, admin_port: int, folder: Path | None = None
) -> Iterator[Platform]:
    """The command as users have it, in the folder that they are in."""
    command = Path(sys.executable).with_name("demitasse")
    with subprocess.Popen(
        [command, "up", "--port", str(port), "--admin-port", str(admin_port)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield Platform(process, f"http://127.0.0.1:{port}", [])
        process.kill()


@pytest.fixture
def platform(environment: dict[str, str]) -> Iterator[Platform]:
    with started(environment, *free_ports(2)) as platform:
        yield platform


def test_up_says_when_the_api_answers_and_ends_with_0_when_told_to_stop(
    platform: Platform,
) -> None:
    assert platform.url in platform.until("the API answers at")
    assert httpx.get(f"{platform.url}/livez").is_success

    platform.process.send_signal(signal.SIGTERM)
    platform.until("stopped")

    assert platform.process.wait(timeout=30) == 0


def test_nothing_is_imported_from_the_folder_that_up_is_started_in(
    environment: dict[str, str], demitasse: Command, noop: Path, tmp_path: Path
) -> None:
    demitasse("publish", noop)
    folder = tmp_path / "of an author"
    folder.mkdir()
    ours = ("storage", "envs", "wire", "links", "deploy", "minion", "coordinator")
    for name in (*ours, "virtualenv", "pip"):
        (folder / f"{name}.py").write_text("open(__file__ + '.imported', 'w')\nraise SystemExit")

    with started(environment, *free_ports(2), folder) as platform:
        platform.until("ready: 1 model")

        assert not list(folder.glob("*.imported"))


def test_up_on_any_free_port_says_which(environment: dict[str, str]) -> None:
    with started(environment, port=0, admin_port=0) as platform:
        url = platform.until("the API answers at").split()[-1]

        assert not url.endswith(":0")
        assert httpx.get(f"{url}/livez").is_success


def test_a_second_signal_ends_everything_at_once(platform: Platform) -> None:
    platform.until("the API answers at")

    platform.process.send_signal(signal.SIGINT)
    platform.until("once more to end at once")
    platform.process.send_signal(signal.SIGINT)

    assert platform.process.wait(timeout=30) in (0, 128 + signal.SIGINT)  # 0: it was quicker


def test_ended_at_once_it_leaves_neither_sockets_nor_processes(
    environment: dict[str, str], home: Path, demitasse: Command
) -> None:
    # In any case it still runs when the second signal comes.
    with started({**environment, "DEMITASSE_LAME_DUCK": "600"}, *free_ports(2)) as platform:
        platform.until("no models are served yet")
        processes = json.loads(demitasse("status", "--json").stdout)["processes"]

        platform.process.send_signal(signal.SIGTERM)
        platform.until("once more to end at once")
        platform.process.send_signal(signal.SIGTERM)

        assert platform.process.wait(timeout=30) == 128 + signal.SIGTERM
    eventually(
        lambda: not any(alive(each["pid"]) for each in processes), within=30, what="all have gone"
    )
    left = [each.name for each in (home / "run").rglob("*")]
    assert not [each for each in left if each.endswith((".sock", ".json"))]


def test_a_terminal_that_is_closed_stops_the_platform_which_finishes_what_it_has(
    environment: dict[str, str], demitasse: Command
) -> None:
    with on_a_terminal(environment, *free_ports(2)) as (process, terminal):
        said = b""
        while b"the API answers at" not in said:
            said += os.read(terminal, 4096)
        eventually(
            lambda: demitasse("status").returncode == 0,
            within=30,
            what="its processes are written down",
        )
        processes = json.loads(demitasse("status", "--json").stdout)["processes"]

        os.close(terminal)
        process.send_signal(signal.SIGHUP)  # by the shell
        process.send_signal(signal.SIGHUP)  # by the kernel

        assert process.wait(timeout=30) == 0
    assert not any(alive(each["pid"]) for each in processes)


@contextmanager
def on_a_terminal(
    environment: dict[str, str], port: int, admin_port: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`up`, and the end of the terminal where somebody reads; to be closed by the block."""
    terminal, screen = pty.openpty()
    command = Path(sys.executable).with_name("demitasse")
    with subprocess.Popen(
        [command, "up", "--port", str(port), "--admin-port", str(admin_port)],
        env=environment,
        stdin=screen,
        stdout=screen,
        stderr=screen,
    ) as process:
        os.close(screen)
        try:
            yield process, terminal
        finally:
            process.kill()


def test_a_configuration_is_taken_over_as_a_whole_or_not_at_all(
    environment: dict[str, str], demitasse: Command, tmp_path: Path
) -> None:
    file = tmp_path / "demitasse.toml"
    file.write_text("max_images = 5\n")
    with started({**environment, "DEMITASSE_CONFIG": str(file)}, *free_ports(2)) as platform:
        platform.until("no models are served yet")

        file.write_text("max_images = 6\nmax_partz = 7\n")
        wrong = demitasse("reload")
        file.write_text("max_images = 6\nprocesses = 2\n")
        fixed = demitasse("reload")
        file.write_text("max_images = 6\n")
        good = demitasse("reload")
        file.write_text("max_images = what\n")
        platform.process.send_signal(signal.SIGHUP)
        broken = platform.until("not reloaded: ")
        again = demitasse("restart")

    assert (wrong.returncode, fixed.returncode) == (1, 1)
    assert f"{file}: max_partz = 7: there is no such setting" in wrong.stderr
    assert "processes cannot change while the platform runs" in fixed.stderr
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1] == "in force now: max_images"
    assert f"{file}: is not valid TOML" in broken
    assert again.returncode == 0, "what the file says by now concerns nobody who is started again"


def test_where_nothing_runs_nothing_is_restarted(demitasse: Command) -> None:
    done = demitasse("restart")

    assert done.returncode == 1
    assert "start the platform with `demitasse up`" in done.stderr


def test_up_on_a_pipe_is_one_line_per_state(platform: Platform) -> None:
    platform.until("no models are served yet; publish one")

    assert "decoder: waiting\n" in platform.said
    assert any(line.startswith("decoder: ready (pid ") for line in platform.said)
    assert not any("\x1b" in line for line in platform.said)


def test_a_second_up_on_a_home_is_refused(platform: Platform, demitasse: Command) -> None:
    platform.until("the API answers at")

    done = demitasse("up")

    assert done.returncode == 1
    assert "in use by another `demitasse up`" in done.stderr


def test_a_port_in_use_is_named_with_the_option_to_change_it(
    platform: Platform, demitasse: Command, tmp_path: Path
) -> None:
    platform.until("the API answers at")

    done = demitasse("up", "--home", tmp_path / "other", "--port", platform.url.rpartition(":")[2])

    assert done.returncode == 1
    assert "choose another --port" in done.stderr


def test_status_shows_every_process_while_it_runs(platform: Platform, demitasse: Command) -> None:
    platform.until("no models are served yet")

    done = demitasse("status", "--json")

    assert done.returncode == 0
    roles = [process["role"] for process in json.loads(done.stdout)["processes"]]
    assert roles[:3] == ["supervisor", "coordinator", "decoder"]


def test_status_and_models_show_what_governs_and_the_limit_that_a_promise_comes_to(
    environment: dict[str, str], demitasse: Command, noop: Path
) -> None:
    demitasse("publish", noop)
    demitasse("tune", "noop", "--promise", "5s")

    def admission(role: str) -> list[dict[str, Any]]:
        processes = json.loads(demitasse("status", "--json").stdout)["processes"]
        (process,) = [each for each in processes if each["role"] == role]
        return list(process["admission"])

    with started(environment, *free_ports(2)) as platform:
        platform.until("ready: 1 model")
        eventually(
            lambda: admission("minion") and admission("decoder"),
            within=30,
            what="both are connected",
        )
        ((noops,), (decoders,)) = admission("minion"), admission("decoder")
        status = rows(demitasse("status").stdout)
        overview = rows(demitasse("models").stdout)
        model = json.loads(demitasse("models", "noop", "--json").stdout)
    stopped = rows(demitasse("models").stdout)

    governed = f"promise 5 s (limit {noops['limit']} now)"
    assert (noops["promise"]["seconds"], decoders["promise"]) == (5, None)
    assert f"noop 1.0.0 {governed}" in status
    assert f"decoder {DECODER_VERSION} queue limit {decoders['limit']}" in status
    assert f"noop 1.0.0 default yes no {governed} 32" in overview[1]
    assert model["versions"][0]["admission"] == [noops]
    assert "noop 1.0.0 default yes no promise 5 s 32" in stopped[1]


def test_changes_go_through_the_platform_that_runs(platform: Platform, demitasse: Command) -> None:
    platform.until("the API answers at")
    platform.until("no models are served yet")

    done = demitasse("tune", "nop", "--queue-limit", 3)

    assert done.returncode == 1
    assert "unknown-model, request" in done.stderr


def test_a_reset_and_the_removal_of_an_alias_are_in_force_where_the_platform_runs(
    environment: dict[str, str], demitasse: Command, noop: Path
) -> None:
    demitasse("publish", noop)
    with started(environment, *free_ports(2)) as platform:
        platform.until("the API answers at")
        eventually(
            lambda: demitasse("status").returncode == 0,
            within=30,
            what="its address is written down",
        )
        said = [
            demitasse(*command.split()).stdout
            for command in (
                "tune noop --promise 5s",
                "tune noop --reset",
                "alias noop canary 1.0.0",
                "alias noop canary --remove",
            )
        ]
        aliases = httpx.get(f"{platform.url}/models").json()["models"][0]["aliases"]

    untuned = "noop: queue limit 1024, max batch size 32, max queue delay 0 ms; in force now\n"
    assert said[1] == untuned
    assert said[2:] == [
        "noop@canary means 1.0.0; in force now\n",
        "noop@canary is removed; in force now\n",
    ]
    assert aliases == {"default": "1.0.0"}


def test_up_refuses_a_model_that_is_not_published(demitasse: Command) -> None:
    port, admin_port = free_ports(2)

    done = demitasse("up", "--port", port, "--admin-port", admin_port, "--models", "nop")

    assert done.returncode == 1
    assert "there is no model 'nop'" in done.stderr
    assert "Traceback" not in done.stderr
