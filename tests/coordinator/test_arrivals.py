"""What is written down of arrivals, and what is not."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest

from coordinator.arrivals import Arrivals, Note, lane_of, read_arrivals
from tests.waiting import eventually
from wire.flows import Flow

LANE = lane_of("tagger", "1.0.0")
FLOW = Flow(1, 12345, 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "arrivals"


def recorder(folder: Path, max_bytes: int = 2**20, max_age_seconds: float = 3600) -> Arrivals:
    return Arrivals(folder, max_bytes=max_bytes, max_age_seconds=max_age_seconds)


def note(size: int = 100, *, refused: bool = False) -> Note:
    now = time.monotonic()
    return Note(now, LANE, FLOW, now + 30.0, size, refused)


def test_what_was_noted_is_read_back(folder: Path):
    before = time.time()
    arrivals = recorder(folder)
    arrivals.note(note(100))
    arrivals.note(note(0, refused=True))
    arrivals.close()

    first, second = read_arrivals(folder, "tagger", None, 0.0)

    assert before <= first["at"] <= second["at"] <= time.time()
    assert (first["size_bytes"], first["refused"]) == (100, 0)
    assert (second["size_bytes"], second["refused"]) == (0, 1)
    assert (first["rank"], first["caller"], first["weight"]) == (1, 12345, 0.5)
    assert first["timeout_seconds"] == pytest.approx(30.0)


def test_of_one_model_or_of_one_version_of_it(folder: Path):
    arrivals = recorder(folder)
    now = time.monotonic()
    for model, version in (("tagger", "1.0.0"), ("tagger", "1.1.0"), ("caption", "1.0.0")):
        arrivals.note(Note(now, lane_of(model, version), FLOW, now + 1))
    arrivals.close()

    assert len(read_arrivals(folder, "tagger", None, 0.0)) == 2
    assert len(read_arrivals(folder, "tagger", "1.1.0", 0.0)) == 1
    assert len(read_arrivals(folder, "nobody", None, 0.0)) == 0


def test_none_before_the_time_that_is_asked_for(folder: Path):
    arrivals = recorder(folder)
    arrivals.note(note()._replace(at=time.monotonic() - 60))
    arrivals.note(note())
    arrivals.close()

    assert len(read_arrivals(folder, "tagger", None, time.time() - 30)) == 1


def test_several_processes_are_read_in_the_order_of_time(folder: Path):
    early, late = recorder(folder), recorder(folder)
    late.note(note(2))
    early.note(note(1)._replace(at=time.monotonic() - 1))
    late.close()
    early.close()

    assert read_arrivals(folder, "tagger", None, 0.0)["size_bytes"].tolist() == [1, 2]


def test_all_files_together_stay_within_their_bytes(folder: Path):
    arrivals = recorder(folder, max_bytes=20_000)
    for size in range(50):
        arrivals.write([note(size) for _ in range(40)])

    kept = read_arrivals(folder, "tagger", None, 0.0)["size_bytes"]

    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20_000
    assert kept.max() == 49, "the latest are there"
    assert kept.min() > 0, "the first made room"


def test_what_is_too_old_is_deleted(folder: Path):
    old = recorder(folder)
    old.write([note()])
    [file] = folder.iterdir()
    os.utime(file, (time.time() - 7200, time.time() - 7200))

    recorder(folder, max_age_seconds=3600).write([], sweeping=True)

    assert list(folder.iterdir()) == []


def test_a_file_that_ends_within_a_record_loses_that_one_alone(folder: Path):
    arrivals = recorder(folder)
    arrivals.write([note(1), note(2)])
    [file] = folder.iterdir()
    os.truncate(file, file.stat().st_size - 10)

    assert read_arrivals(folder, "tagger", None, 0.0)["size_bytes"].tolist() == [1]


def test_a_file_of_somebody_else_is_left_out(folder: Path):
    folder.mkdir()
    (folder / "1-1.arrivals").write_bytes(b"x" * 1000)

    assert len(read_arrivals(folder, "tagger", None, 0.0)) == 0


def test_a_file_that_was_deleted_is_begun_anew(folder: Path):
    arrivals = recorder(folder)
    arrivals.write([note(1)])
    for file in folder.iterdir():
        file.unlink()

    arrivals.write([note(2)])

    assert read_arrivals(folder, "tagger", None, 0.0)["size_bytes"].tolist() == [2]


def test_a_disk_that_fails_costs_the_notes_and_nothing_else(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    folder.write_text("in the way")
    arrivals = recorder(folder)

    arrivals.write([note()] * 3)
    arrivals.write([note()])
    folder.unlink()
    arrivals.write([note(7)])

    assert arrivals.lost == 4
    assert len(caplog.records) == 1, "it is said once"
    assert read_arrivals(folder, "tagger", None, 0.0)["size_bytes"].tolist() == [7]


def test_nobody_else_may_look(folder: Path):
    recorder(folder).write([note()])
    [file] = folder.iterdir()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_it_is_written_while_requests_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coordinator.arrivals.WRITE_SECONDS", 0.01)
    arrivals = recorder(folder)
    following = asyncio.create_task(arrivals.follow())
    arrivals.note(note())

    def written() -> bool:
        return len(read_arrivals(folder, "tagger", None, 0.0)) == 1

    await eventually(written, "a file has it")
    following.cancel()


@pytest.fixture
def hung(folder: Path) -> Path:
    """A file whose opening blocks, until somebody reads it."""
    folder.mkdir()
    os.mkfifo(folder / "hung")
    return folder / "hung"


async def test_a_disk_that_does_not_answer_bounds_what_waits(
    hung: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("coordinator.arrivals.WRITE_SECONDS", 0.01)
    monkeypatch.setattr("coordinator.arrivals.MAX_WAITING", 10)
    arrivals = recorder(hung.parent)
    arrivals._file = hung
    following = asyncio.create_task(arrivals.follow())
    arrivals.note(note())
    await eventually(lambda: not arrivals.waiting, "the first are on their way")

    for _ in range(11):
        arrivals.note(note())

    await eventually(lambda: arrivals.lost == 11, "those behind them are lost")
    following.cancel()
    reader = os.open(hung, os.O_RDONLY | os.O_NONBLOCK)
    await eventually(lambda: has_read(reader), "the thread that hung goes on")
    os.close(reader)


def has_read(reader: int) -> bool:
    try:
        return bool(os.read(reader, 4096))
    except BlockingIOError:
        return False
