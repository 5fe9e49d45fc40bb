"""What is kept of requests, for how long, and how much of it."""

from __future__ import annotations

import string
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from coordinator.records import (
    KEPT_SECONDS,
    PHOTO_BYTES,
    RECORD_BYTES,
    Part,
    Photo,
    Record,
    Records,
)


def record(
    id: str,
    *,
    status: int = 200,
    ended: float = 10.0,
    problem: bytes = b"",
    model: str = "",
    photos: Sequence[Photo] = (),
) -> Record:
    return Record(
        id, "/analyze", model, status, "ok", ended, ended, ended, photos=photos, problem=problem
    )


def ids(records: Records, *wanted: str, now: float = 10.0) -> list[str]:
    return [id for id in wanted if records.find(id, now)]


def test_a_record_is_found_by_its_id() -> None:
    records = Records()
    records.add(record("a"))
    records.add(record("b"))

    assert records.find("b", now=10.0) == [record("b")]
    assert records.find("c", now=10.0) == []


def test_two_records_of_one_id_are_both_found_the_one_that_ended_first_first() -> None:
    records = Records()
    records.add(record("a", ended=11.0))
    records.add(record("a", status=429, ended=10.0))

    assert [found.status for found in records.find("a", now=11.0)] == [429, 200]


def test_what_is_too_old_is_gone() -> None:
    records = Records()
    for add in (records.add, records.add_plain):
        add(record("a", ended=10.0))
        add(record("b", ended=11.0))

    assert ids(records, "a", "b", now=10.5 + KEPT_SECONDS) == ["b"]


def test_where_bytes_run_out_the_oldest_goes() -> None:
    records = Records(max_bytes=2 * RECORD_BYTES)
    for id in "abc":
        records.add(record(id))

    assert ids(records, "a", "b", "c") == ["b", "c"]


@pytest.mark.parametrize(
    "more",
    [
        {"problem": bytes(RECORD_BYTES)},
        {"model": "m" * RECORD_BYTES},
        {"photos": [Photo("n" * (RECORD_BYTES - PHOTO_BYTES), 0.0, 0.0, [])]},
    ],
    ids=["problem", "model", "name-of-a-photo"],
)
def test_what_a_record_takes_beyond_the_usual_counts(more: dict[str, Any]) -> None:
    records = Records(max_bytes=3 * RECORD_BYTES)
    for id in "ab":
        records.add(record(id))
    records.add(record("c", **more))

    assert ids(records, "a", "b", "c") == ["b", "c"]


def test_a_record_that_is_larger_than_its_shelf_is_not_kept_and_pushes_out_nobody() -> None:
    records = Records(max_bytes=2 * RECORD_BYTES)
    records.add(record("a", status=429))
    records.add(record("b", status=429, problem=bytes(2 * RECORD_BYTES)))

    assert ids(records, "a", "b") == ["a"]


def test_refusals_push_out_no_answers() -> None:
    records = Records(max_bytes=2 * RECORD_BYTES)
    records.add(record("answer"))
    for number in range(100):
        records.add(record(f"{number}", status=429))

    assert ids(records, "answer", "97", "98", "99") == ["answer", "98", "99"]


def test_neither_answers_of_one_model_nor_those_about_photos_push_out_the_other() -> None:
    records = Records(max_bytes=2 * RECORD_BYTES)
    records.add(record("photo"))
    for number in range(100):
        records.add_plain(record(f"{number}"))

    assert ids(records, "photo", "97", "98", "99") == ["photo", "98", "99"]


def test_a_full_house_takes_no_more_memory_than_it_says() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        records = Records(max_bytes=2**20)
        for number in range(20_000):
            at = float(number)
            part = Part("a", "1", "computed", "a-0", 1, 0, 0.0, at / 3, at / 5, at / 7)
            records.add_plain(
                Record(f"{number:024x}", "/x", "a", 200, "ok", at, at + 1, at + 2, part)
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken <= 2**20 * 1.1, sys.version


def test_a_full_house_of_photos_takes_no_more_memory_than_it_says() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        records = Records(max_bytes=2**20)
        for number in range(2_000):
            at = float(number)
            part = (1, 0, at / 9, at / 3, at / 5, at / 7)
            photos = [
                Photo(f"{name}-{number}", at / 11, at / 13, [Part("a", "1", "computed", "", *part)])
                for name in string.ascii_letters
            ]
            records.add(Record(f"{number:024x}", "/x", "", 200, "ok", at, at, at, None, photos))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken <= 2**20 * 1.1, sys.version
