"""The numbers that an operator may change while a model is served.

A manifest gives each its first value; what was tuned lies over it and stays
when a new version is published. Either a queue limit or a promise governs
admission, never both. Values and their limits only: who changed what and when is kept
by the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from model_registry.errors import InvalidSettings

#: Lowest and highest value, both allowed. A million waiting examples and a
#: minute of waiting for company are far above any sense; they catch mistaken units.
QUEUE_LIMIT_RANGE = (1, 1_000_000)
MAX_BATCH_SIZE_RANGE = (1, 4096)
MAX_QUEUE_DELAY_RANGE = (0.0, 60.0)
#: Below a millisecond no queue can keep it, and nobody waits for an hour.
PROMISE_RANGE = (0.001, 3600.0)


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """What a lane of one version works with."""

    queue_limit: int | None
    """Examples queued plus running; None where the promise governs."""
    promise: float | None
    """Seconds within which who is let in is answered; None where the queue limit governs."""
    max_batch_size: int
    max_queue_delay: float
    """Seconds, counted from the oldest example."""
    revision: int
    """Of the tuned settings; 0 when nothing was ever tuned."""

    def document(self) -> dict[str, int | float | None]:
        """The numbers under the names that every API and `--json` gives them."""
        return {
            "queue_limit": self.queue_limit,
            "promise_seconds": self.promise,
            "max_batch_size": self.max_batch_size,
            "max_queue_delay_seconds": self.max_queue_delay,
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """What was tuned for a model; None where the manifest's value holds.

    Of queue limit and promise at most one: it governs in place of the manifest's, be that
    the one or the other.
    """

    queue_limit: int | None = None
    promise: float | None = None
    max_batch_size: int | None = None
    max_queue_delay: float | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """A wish to tune; None leaves a setting as it is. An object that exists is valid.

    Raises:
        InvalidSettings: a value out of range or of the wrong type, no value at all, or
            both a queue limit and a promise.
    """

    queue_limit: int | None = None
    promise: float | None = None
    max_batch_size: int | None = None
    max_queue_delay: float | None = None

    def __post_init__(self) -> None:
        _check_integer("queue_limit", self.queue_limit, QUEUE_LIMIT_RANGE)
        _check_seconds("promise_seconds", self.promise, PROMISE_RANGE)
        if self.queue_limit is not None and self.promise is not None:
            raise InvalidSettings(
                "queue_limit and promise_seconds cannot both govern; give one of them",
                "promise_seconds",
            )
        _check_integer("max_batch_size", self.max_batch_size, MAX_BATCH_SIZE_RANGE)
        _check_seconds("max_queue_delay_seconds", self.max_queue_delay, MAX_QUEUE_DELAY_RANGE)
        if not dict(self.given()):
            raise InvalidSettings(
                "nothing to change; expected at least one of "
                "queue_limit, promise_seconds, max_batch_size, max_queue_delay_seconds"
            )

    def values(self) -> Iterator[tuple[str, int | float | None]]:
        """As `given`, and None for what must not be set beside it any more."""
        if self.promise is not None:
            yield "queue_limit", None
        if self.queue_limit is not None:
            yield "promise", None
        yield from self.given()

    def given(self) -> Iterator[tuple[str, int | float]]:
        """The settings that were given, with their new values."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value


#: What leaves every setting to the manifest.
NOTHING_TUNED: Mapping[str, None] = MappingProxyType(
    {field.name: None for field in fields(SettingsChange)}
)


def _check_integer(name: str, value: object, limits: tuple[int, int]) -> None:
    low, high = limits
    if value is not None and not (type(value) is int and low <= value <= high):
        raise InvalidSettings(
            f"{name} is {value!r}; expected an integer from {low} to {high}", name
        )


def _check_seconds(name: str, value: object, limits: tuple[float, float]) -> None:
    low, high = limits
    if value is None:
        return
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return
    raise InvalidSettings(f"{name} is {value!r}; expected seconds from {low:g} to {high:g}", name)
