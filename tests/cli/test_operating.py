"""tune, alias, serve, retire, status, env and logs, where nothing runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import Command, raise_version
from filelock import FileLock

from deploy.status import LOCK_FILE, ProcessInfo, Status, write_status


@pytest.fixture
def published(demitasse: Command, noop: Path) -> None:
    """noop 1.0.0, the default, and 1.1.0."""
    demitasse("publish", noop)
    raise_version(noop, "1.1.0")
    demitasse("publish", noop)


@pytest.mark.usefixtures("published")
def test_tuning_says_that_it_takes_effect_at_the_next_start(demitasse: Command) -> None:
    done = demitasse("tune", "noop", "--queue-limit", 10, "--max-queue-delay", "5ms")

    assert done.stdout == (
        "noop: queue limit 10, max batch size 32, max queue delay 5 ms; "
        "takes effect when the platform starts\n"
    )


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("written", ["5s", "5000ms", "5"])
def test_a_promise_takes_the_place_of_the_queue_limit_and_the_other_way_round(
    demitasse: Command, written: str
) -> None:
    assert "noop: promise 5 s, max" in demitasse("tune", "noop", "--promise", written).stdout
    assert "promise 5 s" in demitasse("models", "noop").stdout
    assert "noop: queue limit 3, max" in demitasse("tune", "noop", "--queue-limit", 3).stdout
    assert "promise no longer set instead of 5" in demitasse("history", "noop").stdout


@pytest.mark.usefixtures("published")
def test_what_was_tuned_is_listed(demitasse: Command) -> None:
    demitasse("tune", "noop", "--max-batch-size", 4, "--max-queue-delay", "0.25s")

    version = json.loads(demitasse("models", "noop", "--json").stdout)["versions"][0]

    assert version["settings"]["max_batch_size"] == 4
    assert version["settings"]["max_queue_delay_seconds"] == 0.25
    assert version["settings"]["queue_limit"] == 1024


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["tune", "noop"], "give --promise", id="nothing to change"),
        pytest.param(["tune", "noop", "--max-queue-delay", "5"], "no duration", id="no unit"),
        pytest.param(["tune", "noop", "--queue-limit", "0"], "from 1 to", id="out of range"),
        pytest.param(["tune", "noop", "--promise", "soon"], "no duration", id="no promise"),
        pytest.param(
            ["tune", "noop", "--promise", "5s", "--queue-limit", "3"], "give either", id="both"
        ),
        pytest.param(["tune", "nop", "--queue-limit", "1"], "there is noop", id="unknown model"),
        pytest.param(["alias", "noop", "default", "9.0.0"], "there is 1.0.0", id="no version"),
        pytest.param(["alias", "noop", "Canary!", "1.0.0"], "lower-case", id="no alias"),
        pytest.param(
            ["tune", "noop", "--reset", "--promise", "5s"], "give it alone", id="reset and more"
        ),
        pytest.param(["tune", "nop", "--reset"], "there is noop", id="unknown model's reset"),
        pytest.param(["alias", "noop", "canary"], "or --remove", id="alias to nothing"),
        pytest.param(
            ["alias", "noop", "default", "1.0.0", "--remove"], "or --remove", id="to and away"
        ),
        pytest.param(
            ["alias", "noop", "canary", "--remove"], "there is default", id="no such alias"
        ),
        pytest.param(["serve", "noop"], "not NAME@VERSION", id="no version named"),
        pytest.param(["retire", "noop@1.0.0"], "default means", id="in use"),
        pytest.param(["history", "nop"], "there is noop", id="unknown model's history"),
        pytest.param(["logs", "noop"], "no log of 'noop'", id="no log"),
    ],
)
def test_a_mistake_is_one_explanation_without_a_traceback(
    demitasse: Command, arguments: list[str], said: str
) -> None:
    done = demitasse(*arguments)

    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("published")
def test_an_alias_moves_and_both_versions_are_served(demitasse: Command) -> None:
    demitasse("alias", "noop", "default", "1.1.0")

    model = json.loads(demitasse("models", "noop", "--json").stdout)

    assert model["aliases"] == {"default": "1.1.0"}
    assert [version["serving"] for version in model["versions"]] == [True, True]


@pytest.mark.usefixtures("published")
def test_a_reset_is_said_with_the_manifests_values_and_is_in_the_history(
    demitasse: Command,
) -> None:
    untuned = demitasse("tune", "noop", "--reset").stdout
    demitasse("tune", "noop", "--promise", "5s", "--max-batch-size", 4)

    done = demitasse("tune", "noop", "--reset")
    history = demitasse("history", "noop").stdout

    assert done.stdout == (
        "noop: queue limit 1024, max batch size 32, max queue delay 0 ms; "
        "takes effect when the platform starts\n"
    )
    assert untuned == done.stdout
    assert "promise the manifest's instead of 5\n" in history
    assert "max_batch_size the manifest's instead of 4\n" in history


@pytest.mark.usefixtures("published")
def test_an_alias_is_removed_and_that_is_in_the_history(demitasse: Command) -> None:
    demitasse("alias", "noop", "canary", "1.1.0")

    done = demitasse("alias", "noop", "canary", "--remove")
    model = json.loads(demitasse("models", "noop", "--json").stdout)

    assert done.stdout == "noop@canary is removed; takes effect when the platform starts\n"
    assert model["aliases"] == {"default": "1.0.0"}
    assert [version["serving"] for version in model["versions"]] == [True, True]
    assert "canary removed; it meant 1.1.0" in demitasse("history", "noop").stdout


@pytest.mark.usefixtures("published")
def test_a_model_whose_default_was_removed_is_tuned_and_retired(demitasse: Command) -> None:
    demitasse("alias", "noop", "default", "--remove")

    tuned = demitasse("tune", "noop", "--queue-limit", 3)
    retired = demitasse("retire", "noop@1.0.0")

    assert "noop: queue limit 3, " in tuned.stdout
    assert "noop 1.0.0 is retired; " in retired.stdout


@pytest.mark.usefixtures("published")
def test_a_version_is_served_and_retired(demitasse: Command) -> None:
    def serving() -> bool:
        model = json.loads(demitasse("models", "noop", "--json").stdout)
        return bool(model["versions"][1]["serving"])

    demitasse("serve", "noop@1.1.0")
    was_served = serving()
    demitasse("retire", "noop@1.1.0")

    assert was_served
    assert not serving()


def test_status_of_nothing_says_so_and_exits_with_3(demitasse: Command, home: Path) -> None:
    done = demitasse("status", "--json")

    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "home": str(home),
        "running": False,
        "url": None,
        "admin_url": None,
        "processes": [],
    }


def test_status_of_a_platform_whose_api_does_not_answer_shows_its_processes_all_the_same(
    demitasse: Command, home: Path
) -> None:
    minion = ProcessInfo("minion", "noop", "1.0.0", 7, "unix:/x", "ready", "")
    write_status(home, Status(True, None, "http://127.0.0.1:9", [minion]))

    with FileLock(home / "run" / LOCK_FILE):
        shown = demitasse("status")
        document = json.loads(demitasse("status", "--json").stdout)

    assert shown.returncode == 0
    assert "the limits in force are not known: nothing answers at" in shown.stderr
    assert shown.stdout.splitlines()[-1].split() == [
        "minion", "noop", "1.0.0", "7", "unix:/x", "ready", "-",
    ]  # fmt: skip
    assert document["processes"] == [{**asdict(minion), "admission": []}]


def test_no_environments_are_an_empty_list(demitasse: Command) -> None:
    done = demitasse("env", "list", "--json")

    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_prune_keeps_what_a_running_platform_uses(demitasse: Command, home: Path) -> None:
    for name in ("used", "unused"):
        (home / "envs" / name).mkdir(parents=True)
    write_status(home, Status(True, None, None, []))
    spec = {"model": "noop", "python": str(home / "envs" / "used" / "bin" / "python")}
    (home / "run" / "noop-1.0.0-0.json").write_text(json.dumps(spec))

    with FileLock(home / "run" / LOCK_FILE):
        done = demitasse("env", "prune")

    assert done.returncode == 0
    assert [path.name for path in (home / "envs").glob("*/")] == ["used"]


def test_prune_removes_what_a_dead_platform_used(demitasse: Command, home: Path) -> None:
    (home / "envs" / "used").mkdir(parents=True)
    write_status(home, Status(True, None, None, []))
    spec = {"python": str(home / "envs" / "used" / "bin" / "python")}
    (home / "run" / "noop-1.0.0-0.json").write_text(json.dumps(spec))

    demitasse("env", "prune")

    assert not list((home / "envs").glob("*/"))


def test_a_platform_that_does_not_run_is_said_with_its_address(
    demitasse: Command, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not asked for")

    done = demitasse("analyze", photo, "--url", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "start the platform with `demitasse up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_invalid_setting_names_its_source(
    demitasse: Command, environment: dict[str, str]
) -> None:
    environment["DEMITASSE_PORT"] = "high"

    done = demitasse("status")

    assert done.returncode == 1
    assert "DEMITASSE_PORT: port = 'high': accepted is a whole number" in done.stderr


def test_a_home_that_cannot_be_made_is_named(
    demitasse: Command, noop: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    done = demitasse("publish", noop, "--home", tmp_path / "file" / "home")

    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr
