"""What a host counts, for Prometheus.

Most of it is counted by the lane anyway and only read when somebody scrapes. Of a
batch, two numbers are added up here: the client library's own histograms took 5
microseconds for them (2026-11, 2 cores), which a lone request pays in full.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from minion.host.bouncer import Ending
from minion.host.lane import Lane
from minion.host.poison import DETAILS
from wire.errors import Code
from wire.reasons import Reason

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class _Distribution:
    """How many values were up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def metric(self, name: str, help: str) -> Metric:
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(name, help, buckets=buckets, sum_value=self._sum)


class LaneCollector(Collector):
    """Reads a lane's own counters at the moment of a scrape, and counts its batches."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._sizes = _Distribution(_SIZES)
        self._seconds = _Distribution(_SECONDS)
        lane.on_batch.append(self._observe)

    def _observe(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._seconds.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        lane = self._lane
        bouncer = lane.bouncer
        yield _gauge("demitasse_minion_ready", "1 if the model takes traffic", float(lane.ready))
        yield _gauge("demitasse_minion_workers_ready", "workers loaded", lane.keeper.ready())
        yield _gauge("demitasse_minion_queue_limit", "examples, queued and running", bouncer.limit)
        yield _gauge("demitasse_minion_batch_limit", "examples", lane.largest_batch)
        basis = lane.basis
        yield _gauge(
            "demitasse_minion_promise_seconds",
            "within which who is let in is answered; 0 where the queue limit governs",
            lane.tuning.promise_seconds or 0.0,
        )
        yield _gauge(
            "demitasse_minion_expected_batch_seconds", "of a full batch", basis.batch_seconds
        )
        yield _gauge(
            "demitasse_minion_batch_deviation",
            "of one batch from what is expected, as a part of it",
            basis.deviation if basis.batch_seconds else 0.0,
        )
        yield _gauge("demitasse_minion_occupied", "examples queued or running", bouncer.occupied)
        yield _gauge("demitasse_minion_queued", "examples waiting for a worker", lane.queued)
        yield _counter("demitasse_minion_admitted", "examples let in", bouncer.admitted)
        refused = CounterMetricFamily(
            "demitasse_minion_refused", "examples turned away, by reason", labels=["reason"]
        )
        refused.add_metric([Code.QUEUE_FULL.value], bouncer.refused)
        refused.add_metric([Code.DEADLINE_UNMEETABLE.value], bouncer.too_late)
        for code in DETAILS:
            refused.add_metric([code.value], lane.trial.killers.refused[code])
        yield refused
        yield _counter(
            "demitasse_minion_worker_ends", "worker processes that ended", lane.keeper.restarts
        )
        yield _counter(
            "demitasse_minion_workers_replaced",
            "worker processes whose successor had loaded before they ended",
            lane.keeper.replaced,
        )
        yield _gauge(
            "demitasse_minion_failed",
            "1 if workers end as often as they are started, and none is there",
            float(lane.keeper.failed),
        )
        endings = CounterMetricFamily(
            "demitasse_minion_examples", "examples by how they ended", labels=["ending"]
        )
        for ending in Ending:
            endings.add_metric([ending.value], bouncer.endings[ending])
        yield endings
        yield self._sizes.metric("demitasse_minion_batch_size", "examples per batch")
        yield self._seconds.metric(
            "demitasse_minion_batch_seconds", "time a batch took in the worker"
        )
        departures = CounterMetricFamily(
            "demitasse_minion_batches", "batches by why they left the queue", labels=["reason"]
        )
        for reason in Reason:
            departures.add_metric([reason.word], lane.departures[reason])
        yield departures
        saved = CounterMetricFamily(
            "demitasse_minion_saved_device_seconds",
            "worker's time that was not spent for nobody",
            labels=["ending"],
        )
        for ending in (Ending.EXPIRED, Ending.ABANDONED):
            saved.add_metric([ending.value], lane.savings.seconds[ending])
        yield saved


def host_metrics(lane: Lane) -> CollectorRegistry:
    """A registry that follows the lane."""
    registry = CollectorRegistry()
    registry.register(LaneCollector(lane))
    return registry


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(name, help, value=value)
