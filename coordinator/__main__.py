"""`python -m coordinator`: one coordinator process, configured by DEMITASSE_* alone.

Opens the listeners, says so, and drains on SIGTERM: not ready, a while later no
new connections, then the requests in progress, then the links. A second one, and
it ends at once, unless it has a supervisor, which kills. On SIGUSR1 another process
has its sockets; SIGUSR2 is SIGTERM where its supervisor ends, too, and nobody will have
them. Several of these share one port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from coordinator.config import Settings
from coordinator.config_checks import InvalidSettings
from coordinator.config_sources import load_settings
from coordinator.http.ending import READY, UNFINISHED, Ending
from coordinator.http.listening import Handed
from coordinator.readiness import Readiness
from wire.lifetimes import end_with
from wire.logs import log_as_json
from wire.threads import start_threads

log = logging.getLogger("demitasse.coordinator")

#: Links, sockets towards siblings, the registry, shared memory: open beside connections.
_OTHER_FILES = 512
#: For the links to hosts that live: they take a few milliseconds.
LINK_SECONDS = 1.0
#: The same where a predecessor serves meanwhile, and nobody waits: it should not know more hosts.
SUCCESSOR_LINK_SECONDS = 10.0
_LOOK_SECONDS = 0.02
#: For the registry, files, and what takes long of large bodies.
_THREADS = 8


def main() -> int:
    arguments = _arguments()
    if arguments.parent_pid is not None and not end_with(arguments.parent_pid):
        return 1
    try:
        settings = load_settings()
        log_as_json(settings.log_level)
        settings = _affordable(settings)
        return uvloop.run(_serve(settings, arguments))
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2


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
    sockets = parser.add_argument_group("sockets of a supervisor, by number, as in 7,8")
    for name in ("public", "admin", "public-neighbours", "admin-neighbours"):
        sockets.add_argument(f"--{name}", type=_numbers, default=[], metavar="FD,...")
    parser.add_argument(
        "--successor",
        type=int,
        metavar="FD",
        help="say there what is missing, take connections when nothing is, and say so",
    )
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each]


async def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    """Returns the exit status."""
    name = f"coordinator-{os.getpid()}"
    siblings, only = arguments.siblings, arguments.only
    ending = _told_by_signals(supervised=arguments.parent_pid is not None)
    public = _handed(arguments.public, arguments.public_neighbours)
    admin = _handed(arguments.admin, arguments.admin_neighbours)
    await start_threads(_THREADS)
    async with open_rooms(settings, name=name, siblings=siblings, only=only) as rooms:
        is_successor = arguments.successor is not None
        await rooms.readiness.linked(SUCCESSOR_LINK_SECONDS if is_successor else LINK_SECONDS)
        if is_successor:
            await _until_ready(rooms.readiness, ending, arguments.successor)
        async with (
            serve_admin(settings, rooms, ending, admin),
            serve_public(settings, rooms, ending, public) as port,
        ):
            gc.freeze()  # what was made so far stays; looking through it again takes 15 ms
            log.info("listening on %s:%d", settings.host, port)
            if arguments.successor is not None and not ending.asked.is_set():
                _say(arguments.successor, READY)
            await ending.asked.wait()
            log.info("ending: %s", "handed over" if ending.handed_over else "told to")
            await ending.lame_duck(settings.lame_duck)
    if ending.unfinished:
        log.error("%d requests were in progress, and told 503, at the end", ending.unfinished)
        return UNFINISHED
    return 0


def _told_by_signals(*, supervised: bool) -> Ending:
    ending, loop = Ending(supervised=supervised), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.begin)
    loop.add_signal_handler(signal.SIGUSR1, ending.hand_over)
    loop.add_signal_handler(signal.SIGUSR2, ending.begin_for_good)
    return ending


def _handed(own: Sequence[int], neighbours: Sequence[int]) -> Handed | None:
    return Handed(own, neighbours) if own else None


async def _until_ready(readiness: Readiness, ending: Ending, told: int) -> None:
    """Says what is missing whenever that is something else; whoever reads it has the patience."""
    said: list[str] = []
    while (missing := readiness.missing()) and not ending.asked.is_set():
        if missing != said:
            said = missing
            _say(told, f"not ready yet: {', '.join(missing)}")
        await asyncio.sleep(_LOOK_SECONDS)


def _say(told: int, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits any more
        os.write(told, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
