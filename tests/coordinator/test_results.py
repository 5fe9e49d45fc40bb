"""The results that one coordinator remembers, as a caller with a body of its own uses them."""

from __future__ import annotations

from test_cache import RULE, version

from coordinator.cache import Key, key_of
from coordinator.digests import digest_now
from coordinator.results import Results
from coordinator.ticket import Prediction
from model_registry.settings import Settings
from model_registry.snapshot import ModelEntry, Snapshot, Version
from wire.answers import Answer, pack_answer, unpack_answer
from wire.examples import Result

GOOD, POOR, BETTER = version("1.0.0", 0.9), version("1.1.0", 0.7), version("2.0.0", 0.95)
BODY = b'{"inputs": {"x": [1]}}'


def published(*versions: Version) -> Snapshot:
    entry = ModelEntry("tagger", {each.version: each for each in versions}, {}, Settings())
    return Snapshot(len(versions), {"tagger": entry})


def following(*versions: Version, max_bytes: int = 100_000) -> Results:
    results = Results(max_bytes, RULE)
    results.follow(published(*versions))
    return results


def key(version: Version) -> Key:
    return key_of(version.digest, "application/json", digest_now(BODY))


def prediction(n: int) -> Prediction:
    packed, _ = pack_answer({"n": n})
    return Prediction(
        Result(1, Answer(memoryview(packed), []), 4, 0.1, 0.2, 0), {"n": n}, "a-0", 0.0
    )


def test_what_was_stored_of_a_body_is_found_again():
    results = following(GOOD, POOR)
    results.store(GOOD, key(GOOD), prediction(7))

    entry = results.lookup(GOOD, key(GOOD))

    assert entry is not None
    assert unpack_answer(entry.answer) == {"n": 7}
    assert (entry.batch_size, entry.replica, entry.photo) == (4, "a-0", None)


def test_of_a_poor_version_nothing_is_stored():
    results = following(GOOD, POOR)
    results.store(POOR, key(POOR), prediction(7))

    assert not results.keeps(POOR)
    assert results.lookup(POOR, key(POOR)) is None


def test_what_a_better_version_superseded_is_gone_and_does_not_come_back():
    results = following(GOOD)
    results.store(GOOD, key(GOOD), prediction(7))

    results.follow(published(GOOD, BETTER))
    results.store(GOOD, key(GOOD), prediction(8))
    results.follow(published(GOOD))

    assert results.keeps(GOOD)
    assert results.lookup(GOOD, key(GOOD)) is None


def test_without_memory_it_is_off():
    results = following(GOOD, max_bytes=0)

    assert not results.on
    assert not results.keeps(GOOD)


async def test_who_shares_nothing_asks_nobody():
    assert await following(GOOD).ask_others(GOOD, key(GOOD)) is None
