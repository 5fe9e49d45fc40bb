"""What a coordinator counts, for Prometheus.

Label sets are resolved once and kept: a request costs two increments. With
several processes on one port the values live in files that they share
(prometheus-client's multiprocess mode), and any of them answers for all.
"""

from __future__ import annotations

import os
from functools import lru_cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter(
    "demitasse_requests", "requests by route, status and error code", ["route", "status", "code"]
)
REQUEST_SECONDS = Histogram(
    "demitasse_request_seconds", "time from head to answer", ["route"], buckets=_SECONDS
)
ANSWERS = Counter("demitasse_answers", "models' parts of answers", ["model", "version", "code"])


@lru_cache(maxsize=1024)
def _requests(route: str, status: int, code: str) -> Counter:
    return REQUESTS.labels(route, str(status), code)


@lru_cache(maxsize=64)
def _seconds(route: str) -> Histogram:
    return REQUEST_SECONDS.labels(route)


@lru_cache(maxsize=4096)
def _answers(model: str, version: str, code: str) -> Counter:
    return ANSWERS.labels(model, version, code)


def count_request(route: str, status: int, code: str, seconds: float) -> None:
    """One request was answered; `code` is `ok`, or that of its error."""
    _requests(route, status, code).inc()
    _seconds(route).observe(seconds)


def count_answer(model: str, version: str, code: str) -> None:
    """One model answered one example; `code` is `ok`, or that of its error."""
    _answers(model, version, code).inc()


def exposition() -> bytes:
    """Everything that was counted, by all processes that share a port."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
