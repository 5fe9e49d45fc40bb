"""What a host counts, for Prometheus.

Most of it is counted by the lane anyway and only read when somebody scrapes. Of a
batch, two numbers are added up here: the client library's own histograms took 5
microseconds for them (2026-11, 2 cores), which a lone request pays in full.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
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
        yield from self._state()
        yield from self._admission()
        yield from self._workers()
        yield from self._batches()

    def _state(self) -> Iterator[Metric]:
        lane, basis = self._lane, self._lane.basis
        yield _gauge("demitasse_minion_ready", "1 if the model takes traffic", float(lane.ready))
        yield _gauge(
            "demitasse_minion_queue_limit", "examples, queued and running", lane.bouncer.limit
        )
        yield _gauge("demitasse_minion_batch_limit", "examples", lane.largest_batch)
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

    def _admission(self) -> Iterator[Metric]:
        lane, bouncer = self._lane, self._lane.bouncer
        yield _gauge("demitasse_minion_occupied", "examples queued or running", bouncer.occupied)
        yield _gauge("demitasse_minion_queued", "examples waiting for a worker", lane.queued)
        yield _counter("demitasse_minion_admitted", "examples let in", bouncer.admitted)
        refused = {
            Code.QUEUE_FULL.value: bouncer.refused,
            Code.DEADLINE_UNMEETABLE.value: bouncer.too_late,
            **{code.value: lane.trial.killers.refused[code] for code in DETAILS},
        }
        yield _counters(
            "demitasse_minion_refused", "examples turned away, by reason", "reason", refused
        )
        yield _counters(
            "demitasse_minion_examples",
            "examples by how they ended",
            "ending",
            {ending.value: bouncer.endings[ending] for ending in Ending},
        )

    def _workers(self) -> Iterator[Metric]:
        keeper = self._lane.keeper
        yield _gauge("demitasse_minion_workers_ready", "workers loaded", keeper.ready())
        yield _counter(
            "demitasse_minion_worker_ends", "worker processes that ended", keeper.restarts
        )
        yield _counter(
            "demitasse_minion_workers_replaced",
            "worker processes whose successor had loaded before they ended",
            keeper.replaced,
        )
        yield _gauge(
            "demitasse_minion_failed",
            "1 if workers end as often as they are started, and none is there",
            float(keeper.failed),
        )

    def _batches(self) -> Iterator[Metric]:
        lane = self._lane
        yield self._sizes.metric("demitasse_minion_batch_size", "examples per batch")
        yield self._seconds.metric(
            "demitasse_minion_batch_seconds", "time a batch took in the worker"
        )
        yield _counters(
            "demitasse_minion_batches",
            "batches by why they left the queue",
            "reason",
            {reason.word: lane.departures[reason] for reason in Reason},
        )
        yield _counters(
            "demitasse_minion_saved_device_seconds",
            "worker's time that was not spent for nobody",
            "ending",
            {
                ending.value: lane.savings.seconds[ending]
                for ending in (Ending.EXPIRED, Ending.ABANDONED)
            },
        )


def host_metrics(lane: Lane) -> CollectorRegistry:
    """A registry that follows the lane."""
    registry = CollectorRegistry()
    registry.register(LaneCollector(lane))
    return registry


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(name, help, value=value)


def _counters(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, help, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family
