"""Changes to what is served, on whichever road puts them in force.

While the platform runs, through its admin API, which answers when the change is
in force; else straight into the registry, for the next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from demitasse.cli.registry import find_model, open_catalog, user_name

if TYPE_CHECKING:
    import httpx

    from coordinator.config import Settings
    from model_registry.catalog import Catalog
    from model_registry.settings import EffectiveSettings, SettingsChange

WHO_HEADER = "Demitasse-Operator"
#: Settings that are durations, as the API calls them.
_IN_SECONDS = {"promise": "promise_seconds", "max_queue_delay": "max_queue_delay_seconds"}


class Operations(Protocol):
    """What an operator may change of a model."""

    @property
    def when(self) -> str:
        """Since when a change counts, as the end of a sentence."""

    def tune(self, model: str, change: SettingsChange) -> EffectiveSettings:
        """Returns what the default version works with from then on."""

    def reset(self, model: str) -> EffectiveSettings:
        """Drops all that was tuned. Returns as `tune` does."""

    def set_alias(self, model: str, alias: str, version: str) -> None: ...

    def remove_alias(self, model: str, alias: str) -> None: ...

    def set_serving(self, model: str, version: str, serving: bool) -> None: ...


@contextmanager
def open_operations(settings: Settings) -> Iterator[Operations]:
    """The admin API of the platform that runs on this home, else its registry."""
    from coordinator.credentials import admin_key
    from demitasse.client import open_http
    from deploy.status import read_status

    status = read_status(settings.home)
    if status.running and status.admin_url is not None:
        with open_http(status.admin_url, key=admin_key(settings)) as http:
            yield ThroughAdmin(http)
    else:
        with open_catalog(settings) as catalog:
            yield ThroughRegistry(catalog)


class ThroughAdmin:
    """Changes a platform that runs."""

    when = "in force now"

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def tune(self, model: str, change: SettingsChange) -> EffectiveSettings:
        body = {_IN_SECONDS.get(key, key): value for key, value in change.given()}
        return _effective(self._call("PATCH", f"/models/{_part(model)}/settings", body))

    def reset(self, model: str) -> EffectiveSettings:
        return _effective(self._call("DELETE", f"/models/{_part(model)}/settings"))

    def set_alias(self, model: str, alias: str, version: str) -> None:
        path = f"/models/{_part(model)}/aliases/{_part(alias)}"
        self._call("PUT", path, {"version": version})

    def remove_alias(self, model: str, alias: str) -> None:
        self._call("DELETE", f"/models/{_part(model)}/aliases/{_part(alias)}")

    def set_serving(self, model: str, version: str, serving: bool) -> None:
        path = f"/models/{_part(model)}/versions/{_part(version)}/serving"
        self._call("PUT", path, {"serving": serving})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        from demitasse.client import call

        who = user_name().encode("ascii", "replace")
        return call(self._http, method, path, json=body, headers={WHO_HEADER: who})


class ThroughRegistry:
    """Changes what the next `up` starts with."""

    when = "takes effect when the platform starts"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tune(self, model: str, change: SettingsChange) -> EffectiveSettings:
        self._catalog.tune(model, change, who=user_name())
        return self._settings(model)

    def reset(self, model: str) -> EffectiveSettings:
        self._catalog.reset(model, who=user_name())
        return self._settings(model)

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self._catalog.set_alias(model, alias, version, who=user_name())

    def remove_alias(self, model: str, alias: str) -> None:
        self._catalog.remove_alias(model, alias, who=user_name())

    def set_serving(self, model: str, version: str, serving: bool) -> None:
        apply = self._catalog.serve if serving else self._catalog.retire
        apply(model, version, who=user_name())

    def _settings(self, model: str) -> EffectiveSettings:
        entry = find_model(self._catalog.snapshot(), model)
        return entry.settings_for(entry.representative)


def _effective(answer: dict[str, Any]) -> EffectiveSettings:
    """The settings that the admin API says are in force now."""
    from model_registry.settings import EffectiveSettings

    settings = answer["settings"]
    return EffectiveSettings(
        settings["queue_limit"],
        settings["promise_seconds"],
        settings["max_batch_size"],
        settings["max_queue_delay_seconds"],
        answer["revision"],
    )


def _part(text: str) -> str:
    return quote(text, safe="")
