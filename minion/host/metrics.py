"""What a host counts, for Prometheus.

Most of it is counted by the lane anyway and only read when somebody scrapes;
nothing here costs a request anything but the histogram of batches.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from minion.host.bouncer import Ending
from minion.host.lane import Lane

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class LaneCollector(Collector):
    """Reads a lane's own counters at the moment of a scrape."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def collect(self) -> Iterator[Metric]:
        lane = self._lane
        bouncer = lane.bouncer
        yield _gauge("demitasse_minion_ready", "1 if the model takes traffic", float(lane.ready))
        yield _gauge("demitasse_minion_workers_ready", "workers loaded", lane.keeper.ready())
        yield _gauge("demitasse_minion_queue_limit", "examples, queued and running", bouncer.limit)
        yield _gauge("demitasse_minion_occupied", "examples queued or running", bouncer.occupied)
        yield _gauge("demitasse_minion_queued", "examples waiting for a worker", lane.queued)
        yield _counter("demitasse_minion_admitted", "examples let in", bouncer.admitted)
        yield _counter("demitasse_minion_refused", "examples past the limit", bouncer.refused)
        yield _counter(
            "demitasse_minion_worker_ends", "worker processes that ended", lane.keeper.restarts
        )
        endings = CounterMetricFamily(
            "demitasse_minion_examples", "examples by how they ended", labels=["ending"]
        )
        for ending in Ending:
            endings.add_metric([ending.value], bouncer.endings[ending])
        yield endings


def host_metrics(lane: Lane) -> CollectorRegistry:
    """A registry that follows the lane."""
    registry = CollectorRegistry()
    registry.register(LaneCollector(lane))
    sizes = Histogram(
        "demitasse_minion_batch_size", "examples per batch", buckets=_SIZES, registry=registry
    )
    seconds = Histogram(
        "demitasse_minion_batch_seconds",
        "time a batch took in the worker",
        buckets=_SECONDS,
        registry=registry,
    )

    def observe(size: int, taken: float) -> None:
        sizes.observe(size)
        seconds.observe(taken)

    lane.on_batch.append(observe)
    return registry


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(name, help, value=value)
