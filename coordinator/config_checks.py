"""What a setting may be, and how it is refused. Called by `config` and `config_sources`."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Any, NamedTuple

from wire.flows import checked_caller

ENVIRONMENT_PREFIX = "DEMITASSE_"
LOG_LEVELS = ("debug", "info", "warning", "error")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
#: Past these one caller would in effect have another class.
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


class InvalidSettings(ValueError):
    """A setting is refused; the text names source, key and value, and what is accepted."""

    def __init__(self, text: str, name: str = "") -> None:
        """
        Args:
            name: of the setting, where it is one that is refused.
        """
        super().__init__(text)
        self.name = name


class About(NamedTuple):
    """What a field of `Settings` means, and what it may be."""

    help: str
    unit: str = ""
    least: float = 0
    most: float = math.inf


class Setting(NamedTuple):
    """One field of `Settings`, for whoever checks or documents it."""

    name: str
    kind: type
    default: Any
    about: About

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


def checked(setting: Setting, value: Any) -> Any:
    """The value as the setting's own type, if it is one and in range."""
    name, about = setting.name, setting.about
    if setting.kind is Path:
        refuse_unless(isinstance(value, str | Path) and str(value), name, value, "a path")
        return Path(value).expanduser().absolute()
    if setting.kind is str:
        refuse_unless(isinstance(value, str), name, value, "a text")
        return value
    whole = setting.kind is int
    good = type(value) is int or (type(value) is float and not whole and math.isfinite(value))
    accepted = f"a {'whole number' if whole else 'number'}{_range(about)}"
    refuse_unless(good and about.least <= value <= about.most, name, value, accepted)
    return value if whole else float(value)


def _range(about: About) -> str:
    unit = f" {about.unit}" if about.unit else ""
    if about.most == math.inf:
        return f" from {about.least:g}{unit}"
    return f" from {about.least:g} to {about.most:g}{unit}"


def refuse_unless(good: object, name: str, value: Any, accepted: str) -> None:
    if not good:
        shown = str(value) if isinstance(value, Path) else repr(value)
        raise InvalidSettings(f"{name} = {shown}: accepted is {accepted}", name)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def weights_in(text: str) -> dict[str, float] | None:
    """Shares by caller; None if it says none."""
    weights: dict[str, float] = {}
    for part in text.split(",") if text.strip() else ():
        name, _, number = part.partition("=")
        try:
            caller, weight = checked_caller(name.strip()), float(number)
        except ValueError:
            return None
        if caller in weights or not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            return None
        weights[caller] = weight
    return weights
