"""`restart`, `reload`: other coordinators in the place of those that run, and nobody is refused."""

from __future__ import annotations

from coordinator.config_sources import load_settings
from demitasse.cli.console import say
from demitasse.cli.failures import CommandError
from demitasse.cli.options import Home


def restart(home: Home = None) -> None:
    """Replace the coordinators one after another. No connection is refused, no request lost."""
    _order(home, "restart")


def reload(home: Home = None) -> None:
    """Have a running `up` read its configuration again: all of it is taken over, or nothing."""
    _order(home, "reload")


def _order(home: Home, wanted: str) -> None:
    from deploy.control import Refused, order

    try:
        for line in order(load_settings(home=home).home, wanted):
            say(line)
    except Refused as error:
        raise CommandError(str(error)) from error
