"""Every setting of the platform's own processes: the only source of them.

Defaults, then a TOML file, then the environment (`DEMITASSE_...`), as `config_sources`
reads them; whoever starts the process may lay its own flags on top. An object that exists is
valid, by `config_checks`. Read by `app.py` and the command line only: everybody else is handed the
few values that concern them. What belongs to a model is in its `model.toml`.
`docs/configuration.md` says the same for readers and is held to it by a test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, get_args, get_type_hints

from coordinator.config_checks import (
    LEAST_WEIGHT,
    LOG_LEVELS,
    MOST_WEIGHT,
    REDIS_SCHEMES,
    About,
    Setting,
    checked,
    is_loopback,
    refuse_unless,
    weights_in,
)

MIB = 1024 * 1024


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
        About(
            "The most connections that are open at a time, per listener of a coordinator process.",
            least=1,
        ),
    ] = 8192
    max_connections_per_address: Annotated[
        int,
        About(
            "The most of them from one address, such as a proxy's; likewise per listener.", least=1
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
            "Environments that keep a process with their framework (or numpy alone) imported, "
            "from which workers start; 0: none.",
            most=256,
        ),
    ] = 16
    decode_timeout: Annotated[
        float, About("How long one image may take to decode.", unit="seconds", least=0.001)
    ] = 10.0
    decode_cpu: Annotated[
        float,
        About(
            "CPU that decoding may take per MiB begun of a file.",
            unit="seconds",
            least=0.001,
            most=3600,
        ),
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
            object.__setattr__(self, setting.name, checked(setting, getattr(self, setting.name)))
        for rule in _RULES:
            refuse_unless(
                rule.holds(self), rule.name, getattr(self, rule.name), rule.accepted(self)
            )

    @property
    def weights(self) -> dict[str, float]:
        """What `caller_weights` says, by caller."""
        return weights_in(self.caller_weights) or {}

    @property
    def registry_url(self) -> str:
        """The URL of the registry's database."""
        return self.database_url or f"sqlite:///{self.home / 'registry.db'}"


class _Rule(NamedTuple):
    """What one setting may be beside the others."""

    name: str
    holds: Callable[[Settings], object]
    accepted: Callable[[Settings], str]


_RULES = (
    _Rule("log_level", lambda it: it.log_level in LOG_LEVELS, lambda it: f"one of {LOG_LEVELS}"),
    _Rule(
        "admin_port",
        lambda it: it.admin_port != it.port or not it.port,
        lambda it: "another port than that of the public API",
    ),
    _Rule(
        "admin_host",
        lambda it: it.admin_key_file or is_loopback(it.admin_host),
        lambda it: "an address of loopback, or another together with an admin_key_file",
    ),
    _Rule(
        "max_connections_per_address",
        lambda it: it.max_connections_per_address <= it.max_connections,
        lambda it: f"at most max_connections, which is {it.max_connections}",
    ),
    _Rule(
        "cache_redis_url",
        lambda it: not it.cache_redis_url or it.cache_redis_url.startswith(REDIS_SCHEMES),
        lambda it: f"empty, or a URL that starts with one of {REDIS_SCHEMES}",
    ),
    _Rule(
        "caller_weights",
        lambda it: weights_in(it.caller_weights) is not None,
        lambda it: (
            f"empty, or callers with numbers from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}: "
            "`nightly=0.2, app=5`"
        ),
    ),
    _Rule(
        "max_image_bytes",
        lambda it: it.max_image_bytes <= it.max_body_bytes,
        lambda it: f"at most max_body_bytes, which is {it.max_body_bytes}",
    ),
    _Rule(
        "default_timeout",
        lambda it: it.default_timeout <= it.max_timeout,
        lambda it: f"at most max_timeout, which is {it.max_timeout:g}",
    ),
    _Rule(
        "link_certificate_file",
        lambda it: bool(it.link_certificate_file) == bool(it.link_key_file),
        lambda it: "one together with link_key_file, or neither",
    ),
    _Rule(
        "poll_interval",
        lambda it: it.poll_interval < it.lease_ttl,
        lambda it: f"less than lease_ttl, which is {it.lease_ttl:g}",
    ),
)


def _settings() -> Iterator[Setting]:
    defaults = inspect.signature(Settings).parameters
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, about = get_args(hint)
        yield Setting(name, kind, defaults[name].default, about)


SETTINGS = {setting.name: setting for setting in _settings()}
