"""Several models' outcomes as one answer.

Plain functions over values: what an answer looks like, and when a partial one
is worth sending. A model that was too late, `DeadlineExceeded`, is pending.
Times are seconds in and milliseconds out.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from coordinator.cache import Entry
from coordinator.errors import DeadlineExceeded, DemitasseError
from coordinator.ticket import Prediction


class Cached(NamedTuple):
    """An answer that was remembered, and how long it took to find."""

    entry: Entry
    output: Any
    seconds: float


class Shared(NamedTuple):
    """What was computed for another request with the same input, and how long it was waited for."""

    prediction: Prediction
    seconds: float


Outcome = Prediction | Cached | Shared | DemitasseError


def milliseconds(seconds: float) -> float:
    # Rounded to a whole number: to decimals, Python takes the long way over text.
    return round(seconds * 1e6) / 1000


def model_entry(version: str, outcome: Outcome) -> dict[str, Any]:
    """One model's part of an answer: its output and how it came about, its error, or that
    the answer left without it.

    Of an answer that was not computed for this request, batch size and replica are those
    that it was computed with, and the timeline is this request's own.
    """
    if isinstance(outcome, Prediction):
        result = outcome.result
        timeline = {
            "queue": milliseconds(result.queue_seconds),
            "predict": milliseconds(result.predict_seconds),
            "link": milliseconds(outcome.link_seconds),
        }
        if outcome.lost is not None:
            timeline["lost"] = milliseconds(outcome.lost.seconds)
        return _came(version, outcome.output, result.batch_size, outcome.replica, timeline)
    if isinstance(outcome, Cached):
        entry, timeline = outcome.entry, {"cache": milliseconds(outcome.seconds)}
        came = _came(version, outcome.output, entry.batch_size, entry.replica, timeline)
        return {**came, "cached": True}
    if isinstance(outcome, Shared):
        prediction, timeline = outcome.prediction, {"shared": milliseconds(outcome.seconds)}
        batch_size = prediction.result.batch_size
        came = _came(version, prediction.output, batch_size, prediction.replica, timeline)
        return {**came, "shared": True}
    if is_pending(outcome):
        return {"version": version, "pending": True}
    return {"version": version, "error": outcome}


def _came(
    version: str, output: Any, batch_size: int, replica: str, timeline: dict[str, float]
) -> dict[str, Any]:
    return {
        "version": version,
        "output": output,
        "batch_size": batch_size,
        "replica": replica,
        "timeline_ms": timeline,
    }


def is_pending(outcome: object) -> bool:
    """Whether it was not ready when the answer had to leave."""
    return isinstance(outcome, DeadlineExceeded)


def is_enough(
    outcomes: Mapping[str, object],
    asked: Iterable[str],
    require: Iterable[str],
    optional: Collection[str],
) -> bool:
    """Whether nothing that is still to come could be worth waiting for.

    Args:
        outcomes: of those that are done, by name in the answer.
        asked: the names of all.
        require: those without whom the answer is worthless: one that has failed settles it.
        optional: those that are waited for only while there is nothing to answer with, or
            another one is waited for anyhow.
    """
    if any(isinstance(outcomes.get(name), DemitasseError) for name in require):
        return True
    if any(name not in outcomes and name not in optional for name in asked):
        return False
    return any(not isinstance(outcome, DemitasseError) for outcome in outcomes.values())


def refuse_if_required(outcomes: Mapping[str, object], require: Iterable[str]) -> None:
    """Raises the first error among the models without which the answer is worthless."""
    for name in require:
        outcome = outcomes.get(name)
        if isinstance(outcome, DemitasseError):
            raise naming(outcome, name)


def refuse_if_nothing(outcomes: Mapping[str, object]) -> None:
    """Raises the first error where there is nothing but errors."""
    for outcome in outcomes.values():
        if not isinstance(outcome, DemitasseError):
            return
    for name, outcome in outcomes.items():
        assert isinstance(outcome, DemitasseError)
        raise naming(outcome, name)


def naming(error: DemitasseError, model: str) -> DemitasseError:
    """The error, with the model that it is about. A copy: others may hold the same one."""
    named = copy.copy(error)
    named.members = {**error.members, "model": model}
    return named
