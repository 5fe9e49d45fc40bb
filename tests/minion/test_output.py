"""What models print: cut, made harmless, and no burden for whoever reads it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

import pytest

from minion.host.excerpt import (
    BURST_BYTES,
    BYTES_PER_SECOND,
    LINE_BYTES,
    MAX_LINE_BYTES,
    SHUT_SECONDS,
    Excerpt,
    harmless,
)
from minion.host.lane import Lane
from minion.host.output import LAST_LINES, Output
from tests.minion.service import ask
from tests.waiting import eventually

StartLane = Callable[..., Awaitable[Lane]]


# What is kept.


def test_lines_are_kept_as_they_are_completed() -> None:
    excerpt = Excerpt(0.0)

    assert excerpt.feed(b"one\ntw", 0.0) == ["one"]
    assert excerpt.feed(b"o\n\nthree", 0.0) == ["two"]
    assert excerpt.end() == ["three"]


@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["carriage return and newline", "alone"])
def test_a_carriage_return_ends_a_line(end: bytes) -> None:
    assert Excerpt(0.0).feed(b"10 %" + end + b"20 %" + end, 0.0) == ["10 %", "20 %"]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("naïve 東京".encode(), "naïve 東京"),
        (b"a\tb", "a   b"),
        (b"\x1b[2J\x00", "\\x1b[2J\\x00"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u2028\u202e".encode(), "\\u2028\\u202e"),
    ],
    ids=["letters", "a tab", "control characters", "not UTF-8", "separators and directions"],
)
def test_nothing_in_a_line_does_harm(line: bytes, kept: str) -> None:
    assert harmless(line) == kept


def test_a_long_line_is_cut_however_it_comes() -> None:
    excerpt = Excerpt(0.0)

    excerpt.feed(b"x" * 1500, 0.0)
    excerpt.feed(b"x" * 1500, 0.0)

    assert excerpt.feed(b"\nnext\n", 0.0) == [
        "x" * MAX_LINE_BYTES + f" ({3000 - MAX_LINE_BYTES} bytes more)",
        "next",
    ]


def test_a_line_without_end_is_too_much_as_well() -> None:
    excerpt = Excerpt(0.0)

    for _ in range(10):
        excerpt.feed(b"x" * BURST_BYTES, 0.0)

    assert excerpt.shut(0.0)
    assert excerpt.dropped_bytes > 8 * BURST_BYTES


def test_what_is_too_much_is_counted_and_one_line_tells() -> None:
    excerpt = Excerpt(0.0)
    line = b"x" * (1000 - LINE_BYTES)

    kept = excerpt.feed((line + b"\n") * 200, 0.0)
    then = excerpt.feed(b"still too much\n", SHUT_SECONDS / 2)
    told = excerpt.feed(b"again\n", 2 * SHUT_SECONDS)

    assert len(kept) == BURST_BYTES // 1000 + 1
    assert then == []
    dropped = (200 - len(kept)) * (len(line) + 1) + len(b"still too much\n")
    assert told == [f"({dropped} bytes that it printed were dropped)", "again"]


def test_empty_lines_are_not_for_nothing() -> None:
    excerpt = Excerpt(0.0)

    excerpt.feed(b"\n" * 100_000, 0.0)

    assert excerpt.dropped_bytes > 90_000


def test_who_goes_on_for_ever_gets_so_many_bytes_a_second() -> None:
    excerpt, seconds = Excerpt(0.0), 60
    line = b"x" * (1000 - LINE_BYTES) + b"\n"

    kept = sum(len(excerpt.feed(line * 10, tick / 100)) for tick in range(100 * seconds))

    assert kept * 1000 <= BURST_BYTES + seconds * (BYTES_PER_SECOND + 1000)


def test_what_was_dropped_last_is_told_at_the_end() -> None:
    excerpt = Excerpt(0.0)
    excerpt.feed(b"x\n" * BURST_BYTES, 0.0)

    excerpt.drop(5)

    [told] = excerpt.end()
    assert "dropped" in told
    assert excerpt.dropped_bytes == 0


# The pipe.


async def test_the_last_words_of_a_process_that_has_ended_are_read() -> None:
    said: list[str] = []
    output = Output(said.append)
    os.write(output.theirs, b"last words\n" * (LAST_LINES + 5) + b"and half a line")

    output.close()

    assert said == ["last words"] * (LAST_LINES + 5) + ["and half a line"]
    assert list(output.last_lines) == said[-LAST_LINES:]


async def test_who_keeps_the_pipe_and_writes_on_does_not_keep_its_reader() -> None:
    output = Output(lambda line: None)
    kept = os.dup(output.theirs)
    output.close()

    with pytest.raises(BrokenPipeError):
        os.write(kept, b"is anybody there?")
    os.close(kept)


# Models that print.


@pytest.mark.parametrize("line", [2, 100, 2**20], ids=["short lines", "lines", "one long line"])
async def test_a_hundred_megabytes_cost_neither_log_nor_loop_and_the_model_waits_little(
    start_lane: StartLane, caplog: pytest.LogCaptureFixture, line: int
) -> None:
    caplog.set_level(logging.INFO, "demitasse.worker")
    lane = await start_lane("PrintsMuch", options={"line": line})
    caplog.clear()
    turns = 0

    answer = asyncio.create_task(ask(lane, 100))
    while not answer.done():
        await asyncio.sleep(0.01)
        turns += 1
    seconds = (await answer)["seconds"]
    await lane.stop()

    logged = sum(map(len, caplog.messages))
    assert logged < BURST_BYTES + (seconds + 2) * 2 * BYTES_PER_SECOND
    assert any("bytes that it printed were dropped" in text for text in caplog.messages)
    assert turns > 5 * min(seconds, 1.0), "the loop went on meanwhile"
    assert seconds < 20


async def test_a_model_that_closes_its_descriptors_is_ended(start_lane: StartLane) -> None:
    lane = await start_lane("ClosesItsDescriptors")
    first = lane.keeper.workers[0].pid

    answer = await ask(lane, 13)

    assert answer.code == "worker-crashed"
    await eventually(lambda: lane.keeper.ready() == 1, "there is a successor")
    assert lane.keeper.workers[0].pid != first
    assert lane.keeper.last_failure == "closed its connection"
    assert lane.keeper.restarts == 2, "nobody else can have done that"


async def test_why_a_worker_could_not_load_is_among_its_last_lines(start_lane: StartLane) -> None:
    lane = await start_lane("WillNotLoad", wait=False)

    await eventually(lambda: lane.keeper.restarts > 0, "a worker has ended")

    assert "FileNotFoundError: no weights" in lane.keeper.last_lines
