"""Where settings come from: a file, the environment, the command line. Called by whoever starts."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coordinator.config import SETTINGS, Settings
from coordinator.config_checks import ENVIRONMENT_PREFIX, InvalidSettings, checked


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    **overrides: Any,
) -> Settings:
    """Defaults, then the file, then the environment, then what the command line was given.

    Args:
        file: TOML, one key per setting. Without one, `DEMITASSE_CONFIG` names it;
            without that, none is read.
        overrides: by field name; None stands for "not given".

    Raises:
        InvalidSettings: naming the source, the key, the value and what is accepted.
    """
    if file is None and (named := environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")):
        file = Path(named)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(source: str, name: str, value: Any) -> None:
        values[name], sources[name] = _from_source(source, name, value), source

    for name, value in (_from_file(file) if file is not None else {}).items():
        take(str(file), name, value)
    for setting in SETTINGS.values():
        if (text := environment.get(setting.variable)) is not None:
            source = f"the environment, {setting.variable}"
            take(source, setting.name, _number(setting.kind, text))
    for name, value in overrides.items():
        if value is not None:
            take("the command line", name, value)
    try:
        return Settings(**values)
    except InvalidSettings as error:
        if error.name not in sources:  # what it does not go with was set, and not this
            raise
        raise InvalidSettings(f"{sources[error.name]}: {error}", error.name) from error


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise InvalidSettings(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file}: is not valid TOML: {error}") from error


def _number(kind: type, text: str) -> Any:
    """The text as a number where one is wanted and it is one; what it is not, is refused later."""
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        pass
    return text


def _from_source(source: str, name: str, value: Any) -> Any:
    setting = SETTINGS.get(name)
    if setting is None:
        known = ", ".join(SETTINGS)
        raise InvalidSettings(f"{source}: {name} = {value!r}: there is no such setting; {known}")
    try:
        return checked(setting, value)
    except InvalidSettings as error:
        raise InvalidSettings(f"{source}: {error}") from error
