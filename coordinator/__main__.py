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
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from coordinator.app import open_rooms, serve_admin, serve_public
from coordinator.config import InvalidSettings, Settings, load_settings
from wire.lifetimes import end_with

log = logging.getLogger("demitasse.coordinator")


def main() -> int:
    arguments = _arguments()
    if arguments.parent_pid is not None and not end_with(arguments.parent_pid):
        return 1
    try:
        settings = load_settings()
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    uvloop.run(_serve(settings, arguments.siblings, arguments.only))
    return 0


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
