"""What runs here, as other commands read it: true as long as its writer lives."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from deploy.status import (
    LOCK_FILE,
    NOTHING,
    STATUS_FILE,
    ProcessInfo,
    Status,
    forget_status,
    read_status,
    run_folder,
    write_status,
)

RUNNING = Status(
    True,
    "http://127.0.0.1:8080",
    "http://127.0.0.1:8081",
    [ProcessInfo("coordinator", None, None, 7, "127.0.0.1:8080", "running", "")],
)


def test_where_nothing_ever_ran_nothing_runs(tmp_path: Path):
    assert read_status(tmp_path) == NOTHING
    assert not list(tmp_path.iterdir()), "and a look leaves no trace"


def test_what_was_written_is_read_while_its_writer_lives(tmp_path: Path):
    write_status(tmp_path, RUNNING)

    with FileLock(run_folder(tmp_path) / LOCK_FILE):
        assert read_status(tmp_path) == RUNNING


def test_what_a_dead_supervisor_left_is_not_believed(tmp_path: Path):
    write_status(tmp_path, RUNNING)

    assert read_status(tmp_path) == NOTHING


def test_what_was_forgotten_is_not_read(tmp_path: Path):
    write_status(tmp_path, RUNNING)

    with FileLock(run_folder(tmp_path) / LOCK_FILE):
        forget_status(tmp_path)
        forget_status(tmp_path)

        assert read_status(tmp_path) == NOTHING


def test_a_status_is_replaced_as_a_whole(tmp_path: Path):
    write_status(tmp_path, RUNNING)
    before = (tmp_path / "run" / STATUS_FILE).open("rb")

    write_status(tmp_path, NOTHING)

    with before:
        assert b"coordinator" in before.read(), "whoever reads it has the old one to its end"
    assert not list((tmp_path / "run").glob("*.new"))


def test_nobody_else_may_look_into_the_run_folder(tmp_path: Path):
    assert run_folder(tmp_path / "home").stat().st_mode & 0o777 == 0o700
