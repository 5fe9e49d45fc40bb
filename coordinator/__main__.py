"""`python -m coordinator`: one coordinator process, configured by DEMITASSE_* alone.

Opens the listeners, says so, and drains on SIGTERM: no new connections, then
the requests in progress, then the links. Several of these share one port.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

from coordinator.app import open_rooms, serve_admin, serve_public
from coordinator.config import InvalidSettings, Settings, load_settings
from wire.lifetimes import end_with
from wire.logs import log_as_json

log = logging.getLogger("demitasse.coordinator")

#: Links, sockets towards siblings, the registry, shared memory: open beside connections.
_OTHER_FILES = 512


def main() -> int:
    arguments = _arguments()
    if arguments.parent_pid is not None and not end_with(arguments.parent_pid):
        return 1
    try:
        settings = load_settings()
        log_as_json(settings.log_level)
        settings = _affordable(settings)
        uvloop.run(_serve(settings, arguments.siblings, arguments.only))
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _affordable(settings: Settings) -> Settings:
    """With as many connections as there may be open files, of which this process asks for more.

    Many systems grant 1024 until they are asked. Past the limit nothing can be accepted, nor
    opened for those who have been.
    """
    wanted = settings.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted == wanted:
        return settings
    most = max(granted - _OTHER_FILES, 1)
    log.warning("with %d open files, max_connections is %d", granted, most)
    per_address = min(settings.max_connections_per_address, most)
    return replace(settings, max_connections=most, max_connections_per_address=per_address)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="coordinator", description="Answers the public API.")
    parser.add_argument("--parent-pid", type=int, help="end when this process does, the parent")
    parser.add_argument(
        "--siblings",
        type=Path,
        help="a folder for the sockets of the processes that share its ports",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME[@VERSION]",
        help="what this platform serves, whatever the registry says is served",
    )
    return parser.parse_args()


async def _serve(settings: Settings, siblings: Path | None, only: Sequence[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        open_rooms(
            settings, name=f"coordinator-{os.getpid()}", siblings=siblings, only=only
        ) as rooms,
        serve_admin(settings, rooms),
        serve_public(settings, rooms) as port,
    ):
        gc.freeze()  # what was made so far stays; looking through it again takes 15 ms
        log.info("listening on %s:%d", settings.host, port)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
