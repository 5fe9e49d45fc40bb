"""Reads one table of a model.toml key by key, and says precisely what is wrong with it.

Knows strings, numbers, durations and what an error must name - file, key,
value, what would be accepted - but no key of a manifest. Used by `manifest_parser`
and `schema`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from model_registry.errors import RegistryError
from wire.names import FIELD

_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0}
_UNIT_BYTES = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class ManifestError(RegistryError):
    """A model.toml that cannot be used; the message names file, key, value and what is accepted."""

    code = "invalid-manifest"

    def __init__(self, file: str, problem: str, *, key: str = "", value: object = None) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file
        self.key = key
        """Dotted, such as `batching.max_batch_size`; empty when the file as a whole is at fault."""
        self.value = value


class Required:
    """The type of `REQUIRED`, a default that means there is none."""


REQUIRED: Final = Required()


class Table:
    """The values under one heading. Keys that are not in `accepted` are refused at once."""

    def __init__(
        self, file: str, path: str, values: Mapping[str, Any], accepted: Collection[str]
    ) -> None:
        self.file = file
        self._path = path
        self._values = values
        for key in values:
            if key not in accepted:
                raise self._unknown(key, accepted)

    def dotted(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def value(self, key: str) -> Any:
        """As the file has it; None when it is absent, which TOML cannot say otherwise."""
        return self._values.get(key)

    def refusal(self, key: str, expected: str) -> ManifestError:
        """What to raise when the value of a key is not what it has to be."""
        dotted, value = self.dotted(key), self.value(key)
        found = "missing" if value is None else _shown(value)
        return ManifestError(
            self.file, f"{dotted} is {found}; expected {expected}", key=dotted, value=value
        )

    def text(
        self,
        key: str,
        default: str | Required = REQUIRED,
        *,
        pattern: str = ".*",
        expected: str = "a string",
    ) -> str:
        value = self._or_default(key, default)
        if isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL):
            return value
        raise self.refusal(key, expected)

    def choice(self, key: str, choices: Collection[str]) -> str:
        value = self.value(key)
        if isinstance(value, str) and value in choices:
            return value
        raise self.refusal(key, "one of " + ", ".join(choices))

    def flag(self, key: str, default: bool) -> bool:
        value = self._or_default(key, default)
        if isinstance(value, bool):
            return value
        raise self.refusal(key, "true or false")

    def integer(self, key: str, limits: tuple[int, int], default: int) -> int:
        low, high = limits
        value = self._or_default(key, default)
        if type(value) is int and low <= value <= high:
            return value
        raise self.refusal(key, f"an integer from {low} to {high}")

    def number(self, key: str) -> float:
        value = self.value(key)
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
        raise self.refusal(key, "a finite number")

    def seconds(
        self, key: str, limits: tuple[float, float], default: str | Required = REQUIRED
    ) -> float:
        """A duration, which the file writes as a string with a unit."""
        low, high = limits
        value = self._or_default(key, default)
        seconds = read_duration(value) if isinstance(value, str) else None
        if seconds is not None and low <= seconds <= high:
            return seconds
        raise self.refusal(key, f'a duration such as "5ms" or "1.5s", from {low:g}s to {high:g}s')

    def size(self, key: str, limits: tuple[int, int], default: str | Required = REQUIRED) -> int:
        """A number of bytes, which the file writes as a string with a unit."""
        low, high = limits
        value = self._or_default(key, default)
        size = read_size(value) if isinstance(value, str) else None
        if size is not None and low <= size <= high:
            return size
        raise self.refusal(
            key, f'a size such as "512MiB" or "2GiB", from {_in_units(low)} to {_in_units(high)}'
        )

    def table(self, key: str, accepted: Collection[str]) -> Table:
        """The table under a key; an absent one reads like an empty one."""
        value = self._or_default(key, {})
        if isinstance(value, dict):
            return Table(self.file, self.dotted(key), value, accepted)
        raise self.refusal(key, "a table")

    def tables(self, key: str, expected: str) -> dict[str, Mapping[str, Any]]:
        """The tables under a key, by names that fit into programs; at least one."""
        value = self.value(key)
        if not isinstance(value, dict) or not value:
            raise self.refusal(key, expected)
        for name, inner in value.items():
            path = f"{self.dotted(key)}.{name}"
            if not re.fullmatch(FIELD, name):
                raise ManifestError(
                    self.file,
                    f"{path} is not a usable name; expected letters, digits and underscores, "
                    "not starting with a digit, at most 63",
                    key=path,
                )
            if not isinstance(inner, dict):
                raise ManifestError(
                    self.file, f"{path} is {_shown(inner)}; expected a table", key=path, value=inner
                )
        return value

    def _or_default(self, key: str, default: object) -> Any:
        if key not in self._values and default is not REQUIRED:
            return default
        return self.value(key)

    def _unknown(self, key: str, accepted: Collection[str]) -> ManifestError:
        near = difflib.get_close_matches(key, accepted, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return ManifestError(
            self.file,
            f"{self.dotted(key)} is not a known key (its value is {_shown(self.value(key))}); "
            f"{hint}Accepted are {', '.join(accepted)}",
            key=self.dotted(key),
            value=self.value(key),
        )


def read_duration(text: str) -> float | None:
    """Seconds of `5ms` or `1.5s`; None for what is no duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text)
    return None if match is None else float(match[1]) * _UNIT_SECONDS[match[2]]


def read_size(text: str) -> int | None:
    """Bytes of `512MiB` or `1.5GiB`; None for what is no size."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(MiB|GiB|TiB)", text)
    return None if match is None else int(float(match[1]) * _UNIT_BYTES[match[2]])


def _in_units(size: int) -> str:
    unit = max(
        (unit for unit in _UNIT_BYTES if _UNIT_BYTES[unit] <= size), key=_UNIT_BYTES.__getitem__
    )
    return f"{size // _UNIT_BYTES[unit]}{unit}"


def _shown(value: object) -> str:
    """A value as the file would have it, cut where it gets long."""
    try:
        text = json.dumps(value)
    except TypeError:  # a date or a time, which JSON has not
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
