"""What a record says, as a document for people and programs.

`part_of` is all that a request pays for it; the rest is done when somebody asks.
Phases are seconds in and milliseconds out; those of one level add up to its
total, `other` being what the coordinator itself took.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from coordinator.errors import DemitasseError
from coordinator.fleet import Prediction
from coordinator.merge import Cached, Outcome, Shared, is_pending, milliseconds
from coordinator.metrics import ending_of
from coordinator.records import Part, Photo, Record
from wire.reasons import Reason

COMPUTED = "computed"
#: Of a record whose request was not answered.
CANCELLED = "cancelled"
_UNKNOWN = -1


def part_of(name: str, version: str, outcome: Outcome, decode_seconds: float = 0.0) -> Part:
    """How one model's answer came about.

    Args:
        name: the model's, in the answer.
        decode_seconds: how long the pixels were waited for, where this part's phases are to
            show it.
    """
    if isinstance(outcome, Prediction):
        _, _, size, queue, predict, left = outcome.result
        link = outcome.link_seconds
        return (
            name, version, COMPUTED, outcome.replica, size, left,
            decode_seconds, queue, predict, link, 0.0,
        )  # fmt: skip
    if isinstance(outcome, DemitasseError):
        source = "pending" if is_pending(outcome) else outcome.code
        return (name, version, source, "", 0, _UNKNOWN, 0.0, 0.0, 0.0, 0.0, 0.0)
    source = "cached" if isinstance(outcome, Cached) else "shared"
    return (name, version, source, *_origin(outcome), 0.0, 0.0, 0.0, 0.0, outcome.seconds)


def _origin(outcome: Cached | Shared) -> tuple[str, int, int]:
    """Replica, batch size and why the batch left, of the answer that was not computed for this."""
    if isinstance(outcome, Cached):
        return outcome.entry.replica, outcome.entry.batch_size, _UNKNOWN
    result = outcome.prediction.result
    return outcome.prediction.replica, result.batch_size, result.left


def document(record: Record, *, now: float, wall: float) -> dict[str, Any]:
    """The record, made readable.

    Args:
        now, wall: the same moment, on the monotonic clock and as seconds since 1970.
    """
    id, route, model, status, code, started, _, ended, part, photos, problem, reckoning = record
    explained: dict[str, Any] = {
        "request_id": id,
        "at": datetime.fromtimestamp(wall - (now - started), UTC).isoformat(),
        "route": route,
        "ending": ending_of(status, code),
        "status": status or None,
        "code": code,
        "total_ms": milliseconds(ended - started),
        "phases_ms": _phases(record),
    }
    if model:
        explained["model"] = model
    if part is not None:
        explained["models"] = [_part(part)]
    if photos:
        explained["images"] = [_photo(photo) for photo in photos]
    if problem:
        explained["problem"] = msgspec.json.decode(problem)
    if reckoning is not None:
        explained["reckoning"] = msgspec.to_builtins(_named(reckoning))
    return explained


def _phases(record: Record) -> dict[str, float]:
    """Where the time went, adding up to the total."""
    _, _, _, _, _, started, asked, ended, part, photos, _, _ = record
    if not asked:  # it was never there as a whole
        return {"read": milliseconds(ended - started)}
    phases = {"read": asked - started}
    if part is not None:
        phases |= _own(part)
    elif photos:
        _, decode, seconds, _ = max(photos, key=lambda photo: photo[2])
        phases |= {"decode": decode, "models": seconds - decode}
    else:
        return _milliseconds({**phases, "wait": ended - asked})
    return _milliseconds({**phases, "other": ended - started - sum(phases.values())})


def _own(part: Part) -> dict[str, float]:
    """What one model's part took."""
    _, _, source, _, _, _, decode, queue, predict, link, waited = part
    if source == COMPUTED:
        phases = {"queue": queue, "predict": predict, "link": link}
        return {"decode": decode, **phases} if decode else phases
    return {{"cached": "cache"}.get(source, source): waited} if waited else {}


def _milliseconds(phases: Mapping[str, float]) -> dict[str, float]:
    return {name: milliseconds(max(seconds, 0.0)) for name, seconds in phases.items()}


def _part(part: Part) -> dict[str, Any]:
    name, version, source, replica, size, left, *_ = part
    shown: dict[str, Any] = {"model": name, "version": version, "source": source}
    if replica:
        shown |= {"replica": replica, "batch_size": size}
    if left != _UNKNOWN:
        shown["left"] = Reason(left).word
    return {**shown, "phases_ms": _milliseconds(_own(part))}


def _photo(photo: Photo) -> dict[str, Any]:
    name, decode, seconds, parts = photo
    phases = _milliseconds({"decode": decode, "models": seconds - decode})
    return {"name": name, "phases_ms": phases, "models": [_part(part) for part in parts]}


def _named(value: Any) -> Any:
    """Named tuples by their names: msgspec would write them as lists."""
    if hasattr(value, "_asdict"):
        return {key: _named(item) for key, item in value._asdict().items()}
    return value
