"""Turns as long as a batch takes."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minion.worker.turns import MAX_SECONDS, Turns, ask_for_turns


def asked_after(batches: Iterable[float]) -> list[float]:
    asked: list[float] = []
    turns = Turns(asked.append)
    for seconds in batches:
        turns.took(seconds)
    return asked


def test_short_batches_ask_for_nothing() -> None:
    assert asked_after([0.0001, 0.002, 0.0099]) == []


def test_turns_are_as_long_as_a_batch_and_asked_for_once() -> None:
    assert asked_after([0.05, 0.06, 0.09, 0.03]) == [0.05]


def test_they_follow_what_batches_take() -> None:
    assert asked_after([0.02, 0.05, 0.02, 0.001]) == [0.02, 0.05, 0.02, 0.0]


def test_none_is_longer_than_the_kernel_gives() -> None:
    assert asked_after([30.0, 60.0]) == [MAX_SECONDS]


def turn_and_niceness() -> tuple[float, int]:
    """Of this thread, as the kernel has it: seconds, and what `nice` shows."""
    thread = threading.get_native_id()
    said = dict(
        map(str.strip, line.split(":", 1))
        for line in Path(f"/proc/self/task/{thread}/sched").read_text().splitlines()
        if ":" in line
    )
    return int(said["se.slice"]) / 1e9, os.getpriority(os.PRIO_PROCESS, thread)


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 12),
    reason="this kernel grants no turns of their own length",
)
def test_the_kernel_grants_them_and_the_niceness_stays() -> None:
    def ask() -> list[tuple[float, int]]:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
        told = [turn_and_niceness()]
        for seconds in (0.05, 0.0):
            ask_for_turns(seconds)
            told.append(turn_and_niceness())
        return told

    with ThreadPoolExecutor(1) as pool:  # of its own: what is asked for stays with the thread
        usual, longer, again = pool.submit(ask).result()

    assert usual[0] < 0.01
    assert longer == (0.05, 5)
    assert again == usual
