"""From what a caller wrote to one published version.

    tagger           the version that the alias `default` names
    tagger@canary    the version that this alias names
    tagger@3         the highest 3.x.y that is served
    tagger@3.1       the highest 3.1.x that is served
    tagger@3.1.0     exactly this one

Plain functions over a snapshot of the registry: no request, no I/O, no idea of
which replicas are alive (`fleet` knows). "Highest" compares numbers, not text,
and never crosses a major number that was not asked for. Also, what a platform
serves that was told to serve some models alone: `served`, `narrowed`.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from coordinator.errors import (
    DemitasseError,
    InvalidParameter,
    UnknownAlias,
    UnknownModel,
    UnknownVersion,
    VersionNotServed,
)
from model_registry.snapshot import DEFAULT_ALIAS, ModelEntry, Snapshot, Version
from wire.names import NAME, SELECTOR
from wire.quoting import quoted

_REF = re.compile(f"({NAME})(?:@({SELECTOR}))?")
_NUMBERS = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,2}")


class ModelRef(NamedTuple):
    """A model's name, and behind an `@` a version, the beginning of one, or an alias."""

    name: str
    selector: str | None = None

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}@{self.selector}"


@functools.lru_cache(maxsize=1024)
def parse_ref(text: str) -> ModelRef:
    """What is written in `models=`.

    Raises:
        InvalidParameter: it has another form than `name` or `name@selector`.
    """
    match = _REF.fullmatch(text)
    if match is None:
        raise InvalidParameter(
            f"{quoted(text)} is no model reference; "
            "write tagger, tagger@3, tagger@3.1.0 or tagger@alias",
            field="models",
        )
    return ModelRef(match[1], match[2])


def resolve(snapshot: Snapshot, ref: ModelRef | str) -> Version:
    """The version that a reference means now.

    Raises:
        InvalidParameter: a text that is no reference.
        UnknownModel, UnknownVersion, UnknownAlias, VersionNotServed: there is
            none; `available` lists what there is.
    """
    if isinstance(ref, str):
        ref = parse_ref(ref)
    entry = named(snapshot, ref.name)
    if ref.selector is None:
        return _aliased(entry, DEFAULT_ALIAS)
    if _NUMBERS.fullmatch(ref.selector):
        return _numbered(entry, ref.selector)
    return _aliased(entry, ref.selector)


def named(snapshot: Snapshot, name: str) -> ModelEntry:
    """The model of this name. Raises UnknownModel, with those that there are."""
    entry = snapshot.models.get(name)
    if entry is None:
        available = sorted(snapshot.models)
        raise UnknownModel(
            f"there is no model {quoted(name)}; there are: {_listed(available)}",
            members={"available": available},
        )
    return entry


def served(snapshot: Snapshot, only: Sequence[str]) -> Iterator[Version]:
    """The versions that a platform serves.

    Args:
        only: references to those that it was told to serve alone; one that means nothing
            any more is left out. Empty: all that the registry says are served.
    """
    for reference in only:
        with contextlib.suppress(DemitasseError):
            yield resolve(snapshot, reference)
    if not only:
        for entry in snapshot.models.values():
            yield from (version for version in entry.versions.values() if version.serving)


def narrowed(snapshot: Snapshot, only: Sequence[str]) -> Snapshot:
    """The registry as a platform has it that serves `only` these: what it does not serve is
    not served, whatever the registry says."""
    if not only:
        return snapshot
    here = {(version.model, version.version) for version in served(snapshot, only)}
    models = {
        name: replace(
            entry,
            versions=MappingProxyType(
                {
                    number: replace(version, serving=(name, number) in here)
                    for number, version in entry.versions.items()
                }
            ),
        )
        for name, entry in snapshot.models.items()
    }
    return replace(snapshot, models=MappingProxyType(models))


def _aliased(entry: ModelEntry, alias: str) -> Version:
    number = entry.aliases.get(alias)
    if number is None:
        available = sorted(entry.aliases)
        raise UnknownAlias(
            f"{entry.name} has no alias {quoted(alias)}; it has: {_listed(available)}",
            members={"available": available},
        )
    version = entry.versions[number]
    if not version.serving:
        raise _not_served(entry, f"{entry.name} {number}, which {alias} means,")
    return version


def _numbered(entry: ModelEntry, selector: str) -> Version:
    exact = entry.versions.get(selector)
    if exact is not None and exact.serving:
        return exact
    wanted = _numbers(selector)
    matching = [number for number in entry.versions if _numbers(number)[: len(wanted)] == wanted]
    serving = [number for number in matching if entry.versions[number].serving]
    if serving:
        return entry.versions[max(serving, key=_numbers)]
    if matching:
        raise _not_served(entry, f"{entry.name}@{selector}")
    available = _ordered(entry.versions)
    raise UnknownVersion(
        f"{entry.name} has no version {selector}; it has: {_listed(available)}",
        members={"available": available},
    )


def _not_served(entry: ModelEntry, what: str) -> VersionNotServed:
    available = _ordered(n for n, version in entry.versions.items() if version.serving)
    return VersionNotServed(
        f"{what} is published but not served; served are: {_listed(available)}",
        members={"available": available},
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _ordered(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=_numbers)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
