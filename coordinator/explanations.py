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

from coordinator.errors import DemitasseError, Internal
from coordinator.merge import Cached, Outcome, Shared, is_pending, milliseconds
from coordinator.metrics import ending_of
from coordinator.records import NOT_KNOWN, Part, Photo, Record
from coordinator.ticket import Prediction
from wire.reasons import Reason

COMPUTED = "computed"
#: Of a record whose request was not answered.
CANCELLED = "cancelled"
#: Of a record whose photos may be fewer than there were: the rest had not come to anything yet.
_CUT_SHORT = frozenset({CANCELLED, Internal.code})


def part_of(name: str, version: str, outcome: Outcome, decode_seconds: float = 0.0) -> Part:
    """How one model's answer came about.

    Args:
        name: the model's, in the answer.
        decode_seconds: how long the pixels were waited for, where this part's phases are to
            show it.
    """
    if isinstance(outcome, Prediction):
        _, _, size, queue, predict, left = outcome.result
        part = Part(
            name, version, COMPUTED, outcome.replica, size, left,
            decode_seconds, queue, predict, outcome.link_seconds,
        )  # fmt: skip
        lost = outcome.lost
        if lost is None:
            return part
        return msgspec.structs.replace(part, lost=lost.seconds, lost_replica=lost.replica)
    if isinstance(outcome, DemitasseError):
        return Part(name, version, "pending" if is_pending(outcome) else outcome.code)
    source = "cached" if isinstance(outcome, Cached) else "shared"
    return Part(name, version, source, *_origin(outcome), waited=outcome.seconds)


def _origin(outcome: Cached | Shared) -> tuple[str, int, int]:
    """Replica, batch size and why the batch left, of the answer that was not computed for this."""
    if isinstance(outcome, Cached):
        return outcome.entry.replica, outcome.entry.batch_size, NOT_KNOWN
    result = outcome.prediction.result
    return outcome.prediction.replica, result.batch_size, result.left


def document(record: Record, *, now: float, wall: float) -> dict[str, Any]:
    """The record, made readable.

    Args:
        now, wall: the same moment, on the monotonic clock and as seconds since 1970.
    """
    explained: dict[str, Any] = {
        "request_id": record.id,
        "at": datetime.fromtimestamp(wall - (now - record.started), UTC).isoformat(),
        "route": record.route,
        "ending": ending_of(record.status, record.code),
        "status": record.status or None,
        "code": record.code,
        "total_ms": milliseconds(record.ended - record.started),
        "phases_ms": _phases(record),
    }
    if record.model:
        explained["model"] = record.model
    if record.part is not None:
        explained["models"] = [_part(record.part)]
    if record.photos:
        explained["images"] = [_photo(photo) for photo in record.photos]
    if record.problem:
        explained["problem"] = msgspec.json.decode(record.problem)
    if record.reckoning is not None:
        explained["reckoning"] = _named(record.reckoning)
    return explained


def _phases(record: Record) -> dict[str, float]:
    """Where the time went, adding up to the total."""
    started, asked, ended = record.started, record.asked, record.ended
    if not asked:  # it was never there as a whole
        return {"read": milliseconds(ended - started)}
    phases = {"read": asked - started}
    if record.part is not None:
        phases |= _own(record.part)
    elif record.photos and record.code not in _CUT_SHORT:
        slowest = max(record.photos, key=lambda photo: photo.seconds)
        phases |= {"decode": slowest.decode, "models": slowest.seconds - slowest.decode}
    else:
        if record.decode:
            phases["decode"] = record.decode
        return _milliseconds({**phases, "wait": ended - asked - record.decode})
    return _milliseconds({**phases, "other": ended - started - sum(phases.values())})


def _own(part: Part) -> dict[str, float]:
    """What one model's part took."""
    if part.source == COMPUTED:
        phases = {"queue": part.queue, "predict": part.predict, "link": part.link}
        if part.lost_replica:
            phases["lost"] = part.lost
        return {"decode": part.decode, **phases} if part.decode else phases
    return {{"cached": "cache"}.get(part.source, part.source): part.waited} if part.waited else {}


def _milliseconds(phases: Mapping[str, float]) -> dict[str, float]:
    return {name: milliseconds(max(seconds, 0.0)) for name, seconds in phases.items()}


def _part(part: Part) -> dict[str, Any]:
    shown: dict[str, Any] = {"model": part.name, "version": part.version, "source": part.source}
    if part.replica:
        shown |= {"replica": part.replica, "batch_size": part.batch_size}
    if part.lost_replica:
        shown["lost_replica"] = part.lost_replica
    if part.left != NOT_KNOWN:
        shown["left"] = Reason(part.left).word
    return {**shown, "phases_ms": _milliseconds(_own(part))}


def _photo(photo: Photo) -> dict[str, Any]:
    phases = {"decode": photo.decode, "models": photo.seconds - photo.decode}
    return {
        "name": photo.name,
        "phases_ms": _milliseconds(phases),
        "models": [_part(part) for part in photo.parts],
    }


def _named(value: Any) -> Any:
    """Named tuples by their names: else they would be written as lists."""
    if hasattr(value, "_asdict"):
        return {key: _named(item) for key, item in value._asdict().items()}
    return value
