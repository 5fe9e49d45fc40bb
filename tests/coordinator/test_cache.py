"""Which results are remembered: the accuracy rule, keys, and a table that keeps to its bound."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cache import (
    ENTRY_OVERHEAD_BYTES,
    PHOTO,
    AccuracyRule,
    Entry,
    Key,
    PhotoFacts,
    Table,
    key_of,
)
from coordinator.digests import DIGEST_BYTES, TURN_BYTES, digest_now, digest_of
from model_registry.manifest_parser import parse_manifest
from model_registry.settings import Settings
from model_registry.snapshot import ModelEntry, Snapshot, Version
from wire.answers import Answer
from wire.tensor import Tensor

RULE = AccuracyRule(minimum=0.8, step=0.01)

MANIFEST = """
name = "tagger"
version = "{version}"
entry = "tagger:Tagger"
[input.x]
dtype = "float32"
shape = [-1]
[output.x]
type = "array"
"""
QUALITY = '[quality]\nmetric = "{metric}"\nvalue = {value}\ndata = "held-out photos"\n'


def version(number: str, accuracy: float | None, *, metric: str = "accuracy") -> Version:
    text = MANIFEST.format(version=number)
    if accuracy is not None:
        text += QUALITY.format(metric=metric, value=accuracy)
    return Version(
        model="tagger",
        version=number,
        digest=digest_now(number.encode()).hex(),
        manifest=parse_manifest(text, "model.toml"),
        directory=Path("/"),
        serving=True,
        published_at=datetime.now(UTC),
        published_by="test",
    )


def lasting(*versions: Version) -> list[str]:
    """The numbers of those whose results are remembered."""
    entry = ModelEntry("tagger", {each.version: each for each in versions}, {}, Settings())
    digests = RULE.lasting(Snapshot(1, {"tagger": entry}))
    return [each.version for each in versions if each.digest in digests]


@pytest.mark.parametrize(
    ("accuracy", "remembered"),
    [(None, False), (0.0, False), (0.79, False), (0.8, True), (0.93, True), (1.0, True)],
)
def test_only_a_version_of_enough_recorded_accuracy_is_remembered(
    accuracy: float | None, remembered: bool
) -> None:
    assert lasting(version("1.0.0", accuracy)) == (["1.0.0"] if remembered else [])


def test_a_version_whose_answers_depend_on_more_than_the_input_is_not_remembered():
    drawing = version("1.0.0", 0.9)
    drawing = replace(drawing, manifest=replace(drawing.manifest, pure=False))

    assert lasting(drawing) == []


def test_another_metric_is_no_accuracy():
    assert lasting(version("1.0.0", 0.99, metric="exact match")) == []


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        pytest.param(0.81, 0.81, ["1.0.0", "2.0.0"], id="as good"),
        pytest.param(0.81, 0.819, ["1.0.0", "2.0.0"], id="better by less than the step"),
        pytest.param(0.81, 0.82, ["2.0.0"], id="better by exactly the step"),
        pytest.param(0.81, 0.95, ["2.0.0"], id="better by more"),
        pytest.param(0.95, 0.85, ["1.0.0"], id="published later and worse"),
        pytest.param(0.95, 0.7, ["1.0.0"], id="too bad to count"),
        pytest.param(0.81, None, ["1.0.0"], id="not measured"),
    ],
)
def test_a_version_is_remembered_until_a_better_one_by_a_step_is_published(
    first: float, second: float | None, left: list[str]
) -> None:
    assert lasting(version("1.0.0", first), version("2.0.0", second)) == left


def test_a_better_version_of_another_model_changes_nothing():
    one, other = version("1.0.0", 0.81), version("2.0.0", 0.99)
    snapshot = Snapshot(
        1,
        {
            "one": ModelEntry("one", {"1.0.0": one}, {}, Settings()),
            "other": ModelEntry("other", {"2.0.0": other}, {}, Settings()),
        },
    )

    assert RULE.lasting(snapshot) == {one.digest, other.digest}


ONE, TWO = "11" * 32, "22" * 32


def test_keys_differ_by_version_by_kind_and_by_input():
    digests = digest_now(b"one"), digest_now(b"two")
    kinds = PHOTO, "application/json"

    keys = {key_of(v, kind, digest) for v in (ONE, TWO) for kind in kinds for digest in digests}

    assert len(keys) == 8
    assert key_of(ONE, PHOTO, digest_now(b"one")) in keys


@pytest.mark.parametrize("size", [0, 1, TURN_BYTES, TURN_BYTES + 1])
async def test_a_digest_is_the_same_in_one_turn_and_in_several(size: int) -> None:
    data = b"7" * size

    assert await digest_of(memoryview(data)) == digest_now(data)
    assert len(digest_now(data)) == DIGEST_BYTES


async def test_of_several_large_digests_one_has_a_piece_per_turn_of_the_loop() -> None:
    turns, data = 0, memoryview(bytes(2 * TURN_BYTES))

    def count() -> None:
        nonlocal turns, next_turn
        turns += 1
        next_turn = loop.call_soon(count)

    loop = asyncio.get_running_loop()
    next_turn = loop.call_soon(count)
    await asyncio.gather(*(digest_of(data) for _ in range(4)))
    next_turn.cancel()

    assert turns >= 4 * 2


TENSOR = Tensor("float32", (2, 1), memoryview(bytes(8)))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(Answer(b"packed", []), 4, "tagger-1.0.0-0", PhotoFacts(640, 480, "JPEG")),
        Entry(Answer(memoryview(b"packed"), [TENSOR, TENSOR]), 1, "tagger-1.0.0-0", None),
    ],
    ids=["of a photo", "with arrays"],
)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert Entry.decode(entry.encode()) == entry


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1 no msgpack at all", id="no MessagePack"),
        pytest.param(b"\x93\x01\x02\x03", id="something else"),
        pytest.param(
            b"\x95\xc4\x01\x80\x91\x93\xa7float32\x91\x02\xc4\x01\x00\x04\xa1x\xc0",
            id="an array of too few bytes",
        ),
    ],
)
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Entry.decode(data)


def key(index: int, version_digest: str = ONE) -> Key:
    return key_of(version_digest, PHOTO, digest_now(str(index).encode()))


def size_of(*entries: bytes) -> int:
    return sum(len(data) + ENTRY_OVERHEAD_BYTES for data in entries)


def test_what_is_put_is_found_and_nothing_else():
    table = Table(10_000)
    table.put(key(1), b"one")

    assert table.get(key(1)) == b"one"
    assert table.get(key(2)) is None


def test_what_was_asked_for_longest_ago_makes_room():
    table = Table(size_of(b"abc", b"abc", b"abc"))
    for index in range(3):
        assert table.put(key(index), b"abc") == 0
    table.get(key(0))

    assert table.put(key(3), b"abc") == 1
    assert [table.get(key(index)) is not None for index in range(4)] == [True, False, True, True]


def test_an_entry_above_the_bound_is_not_remembered_and_nothing_makes_room_for_it():
    table = Table(1000)
    table.put(key(1), b"abc")

    assert table.put(key(2), bytes(1000)) == 0
    assert table.get(key(2)) is None
    assert table.get(key(1)) == b"abc"


def test_only_the_named_versions_stay():
    table = Table(100_000)
    for index in range(3):
        table.put(key(index, ONE), b"one")
        table.put(key(index, TWO), b"two")

    table.keep_only([TWO])

    assert len(table) == 3
    assert table.size_bytes == size_of(b"two", b"two", b"two")
    assert all(table.get(key(index, TWO)) for index in range(3))


@given(
    st.lists(
        st.tuples(st.sampled_from("pgk"), st.integers(0, 12), st.integers(0, 3000)), max_size=60
    ),
    st.integers(0, 12_000),
)
def test_whatever_happens_the_table_keeps_to_its_bound_and_counts_right(
    steps: list[tuple[str, int, int]], bound: int
) -> None:
    table, put = Table(bound), dict[Key, bytes]()
    for action, index, size in steps:
        both = key(index, ONE), key(index, TWO)
        if action == "p":
            for each in both:
                put[each] = bytes(size)
                table.put(each, put[each])
        elif action == "g":
            assert table.get(both[0]) in (None, put.get(both[0]))
        else:
            table.keep_only([ONE])
            assert table.get(both[1]) is None

        there = [data for data in map(table.get, put) if data is not None]
        assert table.size_bytes == size_of(*there) <= bound
        assert len(table) == len(there)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_the_bound_is_one_of_real_memory(size: int) -> None:
    bound = 4 * 1024 * 1024
    answer = Answer(bytes(size), [])
    gc.collect()
    tracemalloc.start()
    try:
        table = Table(bound)
        for index in range(2 * bound // (size + ENTRY_OVERHEAD_BYTES)):
            entry = Entry(answer, 300, "tagger-1.0.0-0", PhotoFacts(index, 2000, "JPEG"))
            table.put(key(index), entry.encode())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.6 * bound < taken <= bound
