"""What a coordinator counts, for Prometheus.

A request costs a few additions to plain numbers, which only the event loop
touches; `flush` carries them over to the client library, whose every step takes
a lock. With several processes on one port the values live in files that they
share (prometheus-client's multiprocess mode), and any of them answers for all.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from coordinator.errors import CODES, InvalidInput, ModelFailure, Overloaded

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

RECEIVED = Counter("demitasse_requests_received", "requests whose head has arrived", ["route"])
REQUESTS = Counter(
    "demitasse_requests",
    "requests by route, ending, status and error code",
    ["route", "ending", "status", "code"],
)
CANCELLED = Counter(
    "demitasse_requests_cancelled",
    "requests whose caller left before the answer, by how far they had come",
    ["route", "stage"],
)
REQUEST_SECONDS = Histogram(
    "demitasse_request_seconds", "time from head to answer", ["route"], buckets=_SECONDS
)
ANSWERS = Counter("demitasse_answers", "models' parts of answers", ["model", "version", "code"])
PENDING = Counter(
    "demitasse_pending_answers", "answers that left without this model's part", ["model", "version"]
)
SHARED = Counter(
    "demitasse_shared_flights",
    "waits for what another request had begun to compute",
    ["model", "version"],
)
SECOND_ATTEMPTS = Counter(
    "demitasse_second_attempts",
    "examples that were sent once more, since their replica was lost",
    ["model", "version"],
)
CACHE_LOOKUPS = Counter(
    "demitasse_cache_lookups",
    "looks for a remembered result, by what came of them",
    ["model", "version", "result"],
)
CACHE_BYTES = Gauge(
    "demitasse_cache_bytes", "memory of remembered results", multiprocess_mode="livesum"
)
CACHE_EVICTIONS = Counter("demitasse_cache_evictions", "results that made room for others")
CACHE_STORE_FAILURES = Counter(
    "demitasse_cache_store_failures", "times that the shared store was away or too slow"
)


#: Codes of requests that were turned away although nothing was wrong with them, beside the
#: caller's own errors, which have statuses below 500.
_REFUSALS = {Overloaded.code} | {each.code for each in Overloaded.__subclasses__()}
#: Those of requests that a model did not manage, which have such statuses too.
_FAILURES = {each.code for each in ModelFailure.__subclasses__()}
_OURS = CODES | {"ok"}
#: Of the words of models, by model or route; those of the image tier are among them.
_MOST_WORDS = 50


#: The route of what is no request: a broken head, one that never ends, a connection too many.
UNASKED = "none"


class _Durations:
    """Of one route, since they were last carried over."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0


_received: dict[str, list[int]] = {}
_requests: Tally[tuple[str, int, str]] = Tally()
_cancelled: Tally[tuple[str, str]] = Tally()
_answers: Tally[tuple[str, str, str]] = Tally()
_words: defaultdict[str, set[str]] = defaultdict(set)
_pending: Tally[tuple[str, str]] = Tally()
_shared: Tally[tuple[str, str]] = Tally()
_cache_lookups: Tally[tuple[str, str, str]] = Tally()
_durations: dict[str, _Durations] = {}
_cache_bytes = 0
_evicted = 0


def received(route: str) -> list[int]:
    """How many requests of a route have arrived, as the one item of a list: who has it adds to
    it when a head is there. Each then ends in `count_request` or `count_cancelled`."""
    return _received.setdefault(route, [0])


def count_cancelled(route: str, stage: str) -> None:
    """One request's caller left before the answer: while it was `reading`, or `waiting`."""
    _cancelled[route, stage] += 1


def ending_of(status: int, code: str) -> str:
    """How a request ended: `answered`, `refused` (it was turned away, or could not be done as
    it stood), `failed` (it was taken on in vain), or `cancelled`: nothing was answered."""
    if not status:
        return "cancelled"
    if status < 400:
        return "answered"
    if code in _FAILURES:
        return "failed"
    return "refused" if status < 500 or code in _REFUSALS else "failed"


def count_request(route: str, status: int, code: str, seconds: float) -> None:
    """One request was answered; `code` is `ok`, or that of its error."""
    _requests[route, status, code if code in _OURS else _word(route, code)] += 1
    durations = _durations.get(route)
    if durations is None:
        durations = _durations[route] = _Durations()
    durations.counts[bisect_left(_SECONDS, seconds)] += 1
    durations.total += seconds


def count_unasked(status: int, code: str) -> None:
    """One caller was hung up on who had not asked anything yet, or nothing that can be read."""
    received(UNASKED)[0] += 1
    count_request(UNASKED, status, code, 0.0)


def count_answer(model: str, version: str, code: str) -> None:
    """One model answered one example; `code` is `ok`, or that of its error."""
    _answers[model, version, code if code in _OURS else _word(model, code)] += 1


def _word(of: str, code: str) -> str:
    """What a code that is none of ours is counted as: itself, of the first ones there were.

    Each is a series for good, and an author may have put a number into it.

    Args:
        of: the model or route that it was said of.
    """
    words = _words[of]
    if code not in words and len(words) == _MOST_WORDS:
        return InvalidInput.code
    words.add(code)
    return code


def count_pending(model: str, version: str) -> None:
    """One answer left without this model's part, which was not ready in time."""
    _pending[model, version] += 1


def count_shared(model: str, version: str) -> None:
    """One request waits for what another had begun to compute."""
    _shared[model, version] += 1


def count_second_attempt(model: str, version: str) -> None:
    """One example was sent once more, since its replica was lost."""
    SECOND_ATTEMPTS.labels(model, version).inc()


def count_cache_lookup(model: str, version: str, result: str) -> None:
    """One result was looked for: `hit`, `miss`, or, after a miss here, `shared-hit`."""
    _cache_lookups[model, version, result] += 1


def show_cache(size_bytes: int, *, evicted: int) -> None:
    """What the cache takes now, and how many results made room just now."""
    global _cache_bytes, _evicted
    _cache_bytes = size_bytes
    _evicted += evicted


def count_store_failure() -> None:
    """The store that coordinators share did not answer, or not in time."""
    CACHE_STORE_FAILURES.inc()


def flush() -> None:
    """Carries over what was counted. Called on the event loop, now and then and before a look."""
    for route, arrived in _received.items():
        RECEIVED.labels(route).inc(arrived[0])
        arrived[0] = 0
    for (route, status, code), count in _requests.items():
        REQUESTS.labels(route, ending_of(status, code), str(status), code).inc(count)
    for cancelled, count in _cancelled.items():
        CANCELLED.labels(*cancelled).inc(count)
    for labels, count in _answers.items():
        ANSWERS.labels(*labels).inc(count)
    for route, durations in _durations.items():
        # The library takes observations one by one; this is what its `observe` does.
        histogram = REQUEST_SECONDS.labels(route)
        histogram._sum.inc(durations.total)
        for bucket, count in zip(histogram._buckets, durations.counts, strict=True):
            bucket.inc(count)
    for pending, count in _pending.items():
        PENDING.labels(*pending).inc(count)
    for shared, count in _shared.items():
        SHARED.labels(*shared).inc(count)
    for lookup, count in _cache_lookups.items():
        CACHE_LOOKUPS.labels(*lookup).inc(count)
    global _evicted
    CACHE_BYTES.set(_cache_bytes)
    CACHE_EVICTIONS.inc(_evicted)
    _evicted = 0
    _requests.clear()
    _cancelled.clear()
    _answers.clear()
    _pending.clear()
    _shared.clear()
    _cache_lookups.clear()
    _durations.clear()


def exposition() -> bytes:
    """Everything that was flushed, by all processes that share a port."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
