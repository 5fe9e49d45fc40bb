"""Every setting of the platform's own processes: the only source of them.

Defaults, then a TOML file, then the environment (`DEMITASSE_...`); whoever
starts the process may lay its own flags on top. An object that exists is
valid. Read by `app.py` and the command line only: everybody else is handed the
few values that concern them. What belongs to a model is in its `model.toml`.
`docs/configuration.md` says the same for readers and is held to it by a test.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from wire.flows import checked_caller

ENVIRONMENT_PREFIX = "DEMITASSE_"
LOG_LEVELS = ("debug", "info", "warning", "error")

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

MIB = 1024 * 1024
#: Past these one caller would in effect have another class.
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


class InvalidSettings(ValueError):
    """A setting is refused; the text names source, key and value, and what is accepted."""


class About(NamedTuple):
    """What a field of `Settings` means, and what it may be."""

    help: str
    unit: str = ""
    least: float = 0
    most: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a coordinator, and the supervisor of a single machine, are started with."""

    home: Annotated[
        Path,
        About("Where everything that lasts is kept: the registry, artifacts, environments, logs."),
    ] = Path("~/.demitasse")
    host: Annotated[str, About("The address that the public API listens on.")] = "127.0.0.1"
    port: Annotated[int, About("The port of the public API; 0 takes a free one.", most=65535)] = (
        8080
    )
    admin_host: Annotated[
        str,
        About("The address that the admin API listens on; off loopback it needs `admin_key_file`."),
    ] = "127.0.0.1"
    admin_key_file: Annotated[
        str,
        About(
            "A file with the key that the admin API wants to see as `Authorization: Bearer`, for "
            "nobody else to read; empty: it wants none."
        ),
    ] = ""
    admin_port: Annotated[
        int, About("The port of the admin API; 0 takes a free one.", most=65535)
    ] = 8081
    processes: Annotated[
        int, About("Coordinator processes that share the public port.", least=1, most=256)
    ] = 1
    database_url: Annotated[
        str, About("The registry's database as an SQLAlchemy URL; empty: registry.db under `home`.")
    ] = ""
    max_image_bytes: Annotated[
        int, About("The largest image file that is accepted.", unit="bytes", least=1)
    ] = 20 * MIB
    max_body_bytes: Annotated[
        int, About("The largest request body that is accepted.", unit="bytes", least=1)
    ] = 64 * MIB
    max_json_bytes: Annotated[
        int,
        About(
            "The largest body of `/infer` with numbers one by one; in MessagePack: 256 KiB.",
            unit="bytes",
            least=1,
        ),
    ] = 2 * MIB
    max_images: Annotated[int, About("The most images in one request.", least=1)] = 32
    max_image_pixels: Annotated[
        int,
        About(
            "Width times height above which an image is refused from its header.",
            unit="pixels",
            least=1,
        ),
    ] = 40_000_000
    max_parts: Annotated[int, About("The most parts in one multipart body.", least=1)] = 64
    max_inflated_bytes: Annotated[
        int,
        About(
            "The largest body that one sent with `Content-Encoding: gzip` or `deflate` may become.",
            unit="bytes",
            least=1,
        ),
    ] = 8 * MIB
    max_connections: Annotated[
        int,
        About("The most connections that are open at a time, per coordinator process.", least=1),
    ] = 8192
    max_connections_per_address: Annotated[
        int,
        About(
            "The most of them from one address, such as a proxy's; likewise per process.", least=1
        ),
    ] = 2048
    head_timeout: Annotated[
        float,
        About(
            "How long a request's head may take to arrive, from its first byte.",
            unit="seconds",
            least=0.001,
        ),
    ] = 5.0
    body_timeout: Annotated[
        float, About("How long a request's body may take to arrive.", unit="seconds", least=0.001)
    ] = 60.0
    body_idle_timeout: Annotated[
        float,
        About(
            "How long nothing of a body may arrive: whoever uploads holds places meanwhile.",
            unit="seconds",
            least=0.001,
        ),
    ] = 5.0
    answer_timeout: Annotated[
        float,
        About(
            "How long a caller may read its answer more slowly than at `min_rate`.",
            unit="seconds",
            least=0.001,
        ),
    ] = 8.0
    min_rate: Annotated[
        float,
        About(
            "The slowest that a body may arrive, over `body_idle_timeout`, and an answer be "
            "read, over `answer_timeout`; 0: as slowly as they like.",
            unit="bytes/s",
        ),
    ] = 1024.0
    default_timeout: Annotated[
        float, About("How long a request that does not say may take.", unit="seconds", least=0.001)
    ] = 30.0
    max_timeout: Annotated[
        float, About("The longest timeout that a request may ask for.", unit="seconds", least=0.001)
    ] = 300.0
    caller_weights: Annotated[
        str,
        About(
            "Shares of the devices beside other callers', as `nightly=0.2, app=5`; everybody "
            f"else's is 1. From {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}."
        ),
    ] = ""
    keepalive_timeout: Annotated[
        float, About("How long an idle connection is kept open.", unit="seconds")
    ] = 75.0
    lingering_time: Annotated[
        float,
        About(
            "How long the rest of an upload is read and thrown away after it was refused, "
            "so that the caller gets to see the answer.",
            unit="seconds",
        ),
    ] = 2.0
    lame_duck: Annotated[
        float,
        About(
            "How long a coordinator that was told to stop says at `/readyz` that it is not ready, "
            "and still takes connections: as long as a load balancer takes to notice.",
            unit="seconds",
        ),
    ] = 0.0
    drain_grace: Annotated[
        float,
        About(
            "How long requests in progress may go on after the process was told to stop.",
            unit="seconds",
        ),
    ] = 10.0
    decoder_workers: Annotated[
        int, About("Processes that decode images; 0: one per core.", most=256)
    ] = 0
    worker_starts: Annotated[
        int,
        About("Workers that start at once on this machine; 0: one per core.", most=256),
    ] = 0
    templates: Annotated[
        int,
        About(
            "Environments that keep a process with their framework imported, from which "
            "workers start; 0: none.",
            most=256,
        ),
    ] = 8
    decode_timeout: Annotated[
        float, About("How long one image may take to decode.", unit="seconds", least=0.001)
    ] = 10.0
    decode_cpu: Annotated[
        float,
        About("CPU that decoding may take per MiB begun of a file.", unit="seconds", least=0.001),
    ] = 1.0
    cache_bytes: Annotated[
        int,
        About(
            "Memory for results that are remembered, per coordinator process; 0: none are, and "
            "equal photos in flight are each computed.",
            unit="bytes",
        ),
    ] = 16 * MIB
    cache_min_accuracy: Annotated[
        float,
        About("The recorded accuracy from which on a version's results are remembered.", most=1),
    ] = 0.8
    cache_accuracy_step: Annotated[
        float,
        About(
            "How much more accurate another version of the model must be for the results of a "
            "version to be forgotten.",
            least=0.0001,
            most=1,
        ),
    ] = 0.01
    cache_redis_url: Annotated[
        str,
        About(
            "A Redis where coordinators remember results together, as redis:, rediss: or unix: "
            "URL; empty: each for itself."
        ),
    ] = ""
    cache_redis_timeout: Annotated[
        float,
        About(
            "How long a request may wait for that Redis before it goes on without.",
            unit="seconds",
            least=0.001,
        ),
    ] = 0.05
    arrivals_bytes: Annotated[
        int,
        About(
            "Disk for what `demitasse plan` replays: who came when, 44 bytes each, without what "
            "they sent; the oldest make room. 0: nothing is recorded.",
            unit="bytes",
        ),
    ] = 64 * MIB
    arrivals_max_age: Annotated[
        float, About("For how long that is kept.", unit="seconds", least=1)
    ] = 86_400.0
    lease_ttl: Annotated[
        float,
        About(
            "How long a minion counts as alive after it last renewed its lease.",
            unit="seconds",
            least=0.1,
        ),
    ] = 5.0
    poll_interval: Annotated[
        float,
        About(
            "How often a coordinator looks for changes in the registry.", unit="seconds", least=0.01
        ),
    ] = 0.5
    link_secret_file: Annotated[
        str,
        About(
            "A file with the secret that links over TCP are opened with, for nobody else to read; "
            "empty: there are none."
        ),
    ] = ""
    link_ca_file: Annotated[
        str,
        About("Who signs the minions' certificates, in PEM; empty: links over TCP are not TLS."),
    ] = ""
    link_certificate_file: Annotated[
        str, About("The certificate, in PEM, for minions that ask for one; empty: none.")
    ] = ""
    link_key_file: Annotated[str, About("Its key, in PEM.")] = ""
    log_level: Annotated[str, About(f"The least that is logged: {', '.join(LOG_LEVELS)}.")] = "info"

    def __post_init__(self) -> None:
        for setting in SETTINGS.values():
            object.__setattr__(self, setting.name, _checked(setting, getattr(self, setting.name)))
        _refuse_unless(
            self.log_level in LOG_LEVELS, "log_level", self.log_level, f"one of {LOG_LEVELS}"
        )
        _refuse_unless(
            self.admin_port != self.port or not self.port,
            "admin_port",
            self.admin_port,
            "another port than that of the public API",
        )
        _refuse_unless(
            self.admin_key_file or _is_loopback(self.admin_host),
            "admin_host",
            self.admin_host,
            "an address of loopback, or another together with an admin_key_file",
        )
        _refuse_unless(
            self.max_connections_per_address <= self.max_connections,
            "max_connections_per_address",
            self.max_connections_per_address,
            f"at most max_connections, which is {self.max_connections}",
        )
        _refuse_unless(
            not self.cache_redis_url or self.cache_redis_url.startswith(REDIS_SCHEMES),
            "cache_redis_url",
            self.cache_redis_url,
            f"empty, or a URL that starts with one of {REDIS_SCHEMES}",
        )
        _refuse_unless(
            _weights(self.caller_weights) is not None,
            "caller_weights",
            self.caller_weights,
            f"empty, or callers with numbers from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}: "
            "`nightly=0.2, app=5`",
        )
        _refuse_unless(
            self.max_image_bytes <= self.max_body_bytes,
            "max_image_bytes",
            self.max_image_bytes,
            f"at most max_body_bytes, which is {self.max_body_bytes}",
        )
        _refuse_unless(
            self.default_timeout <= self.max_timeout,
            "default_timeout",
            self.default_timeout,
            f"at most max_timeout, which is {self.max_timeout:g}",
        )
        _refuse_unless(
            bool(self.link_certificate_file) == bool(self.link_key_file),
            "link_certificate_file",
            self.link_certificate_file,
            "one together with link_key_file, or neither",
        )
        _refuse_unless(
            self.poll_interval < self.lease_ttl,
            "poll_interval",
            self.poll_interval,
            f"less than lease_ttl, which is {self.lease_ttl:g}",
        )

    @property
    def weights(self) -> dict[str, float]:
        """What `caller_weights` says, by caller."""
        return _weights(self.caller_weights) or {}

    @property
    def registry_url(self) -> str:
        """The URL of the registry's database."""
        return self.database_url or f"sqlite:///{self.home / 'registry.db'}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _weights(text: str) -> dict[str, float] | None:
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


class Setting(NamedTuple):
    """One field of `Settings`, for whoever checks or documents it."""

    name: str
    kind: type
    default: Any
    about: About

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


def _settings() -> Iterator[Setting]:
    defaults = inspect.signature(Settings).parameters
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, about = get_args(hint)
        yield Setting(name, kind, defaults[name].default, about)


SETTINGS = {setting.name: setting for setting in _settings()}


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
    for name, value in (_from_file(file) if file is not None else {}).items():
        values[name] = _from_source(str(file), name, value)
    for setting in SETTINGS.values():
        if (text := environment.get(setting.variable)) is not None:
            source = f"the environment, {setting.variable}"
            values[setting.name] = _from_source(source, setting.name, _number(setting.kind, text))
    for name, value in overrides.items():
        if value is not None:
            values[name] = _from_source("the command line", name, value)
    return Settings(**values)


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
        return _checked(setting, value)
    except InvalidSettings as error:
        raise InvalidSettings(f"{source}: {error}") from error


def _checked(setting: Setting, value: Any) -> Any:
    """The value as the setting's own type, if it is one and in range."""
    name, about = setting.name, setting.about
    if setting.kind is Path:
        _refuse_unless(isinstance(value, str | Path) and str(value), name, value, "a path")
        return Path(value).expanduser().absolute()
    if setting.kind is str:
        _refuse_unless(isinstance(value, str), name, value, "a text")
        return value
    whole = setting.kind is int
    good = type(value) is int or (type(value) is float and not whole and math.isfinite(value))
    accepted = f"a {'whole number' if whole else 'number'}{_range(about)}"
    _refuse_unless(good and about.least <= value <= about.most, name, value, accepted)
    return value if whole else float(value)


def _range(about: About) -> str:
    unit = f" {about.unit}" if about.unit else ""
    if about.most == math.inf:
        return f" from {about.least:g}{unit}"
    return f" from {about.least:g} to {about.most:g}{unit}"


def _refuse_unless(good: object, name: str, value: Any, accepted: str) -> None:
    if not good:
        shown = str(value) if isinstance(value, Path) else repr(value)
        raise InvalidSettings(f"{name} = {shown}: accepted is {accepted}")
