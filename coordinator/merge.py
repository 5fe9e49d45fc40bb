"""Several models' outcomes as one answer.

Plain functions over values: what an answer looks like, and when a partial one
is worth sending. Times are seconds in and milliseconds out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.errors import DemitasseError
from coordinator.fleet import Prediction

Outcome = Prediction | DemitasseError


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def model_entry(version: str, outcome: Outcome) -> dict[str, Any]:
    """One model's part of an answer: its output and how it came about, or its error."""
    if isinstance(outcome, DemitasseError):
        return {"version": version, "error": outcome}
    result = outcome.result
    return {
        "version": version,
        "output": outcome.output,
        "batch_size": result.batch_size,
        "replica": outcome.replica,
        "timeline_ms": {
            "queue": milliseconds(result.queue_seconds),
            "predict": milliseconds(result.predict_seconds),
            "link": milliseconds(outcome.link_seconds),
        },
    }


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
