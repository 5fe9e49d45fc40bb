"""`up`: the whole platform on this machine, until it is told to stop.

The deployment does the work; here it is started, stopped by signals, and shown:
as a live table on a terminal, as one line per change elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import open_console
from demitasse.cli.failures import CommandError
from demitasse.cli.options import Home, listed
from demitasse.cli.processes import Narrator, process_table
from wire.lifetimes import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.live import Live

    from coordinator.config import Settings
    from deploy.local import LocalDeployment
    from deploy.status import ProcessInfo

_PROBE_SECONDS = 0.1
#: What shells say of a process that a signal ended.
_SIGNAL_EXIT = 128
#: Told to end, and requests were in progress when the grace was over.
_UNFINISHED = 4


def up(
    home: Home = None,
    port: Annotated[int | None, typer.Option(help="Of the public API; 8080 by default.")] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Of the admin API, on loopback; 8081 by default.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Coordinators that share the public port; 1 by default.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION],...", help="Serve these instead of all that are marked served."
        ),
    ] = None,
) -> None:
    """Start everything and stay. Ctrl-C or SIGTERM: finish what was begun; again: end at once.
    SIGHUP: as `demitasse reload`, or on a terminal, which was closed then: as SIGTERM."""
    read = partial(load_settings, home=home, port=port, admin_port=admin_port, processes=processes)
    raise typer.Exit(asyncio.run(_run(read, listed(models))))


async def _run(read: Callable[[], Settings], models: list[str]) -> int:
    """Returns the exit status."""
    from deploy.local import DeploymentError, LocalDeployment

    on_terminal = sys.stdout.isatty()
    screen: Screen = LiveScreen() if on_terminal else PlainScreen()
    deployment: LocalDeployment
    over = False

    def on_change() -> None:
        if not over:
            screen.show(deployment.processes())

    adopt_orphans()
    deployment = LocalDeployment(read(), models=models, reread=read, on_change=on_change)
    stop, abort = asyncio.Event(), asyncio.Event()
    ended_by = _stop_on_signals(stop, abort, screen, on_terminal=on_terminal)
    reloads = None if on_terminal else _reload_on_signal(deployment, screen)
    with screen:
        probe = asyncio.create_task(_say_when_it_answers(deployment, screen))
        try:
            await deployment.run(stop, abort)
        except DeploymentError as error:
            raise CommandError(str(error)) from error
        finally:
            over = True
            probe.cancel()
            if reloads is not None:
                reloads.cancel()
    if abort.is_set():
        return _SIGNAL_EXIT + ended_by[-1]
    if not deployment.finished:
        screen.say("stopped; requests were in progress when the grace was over: see the logs")
        return _UNFINISHED
    screen.say("stopped")
    return 0


def _stop_on_signals(
    stop: asyncio.Event, abort: asyncio.Event, screen: Screen, *, on_terminal: bool
) -> list[int]:
    """Returns the list into which the signals that came are put."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if stop.is_set():
            abort.set()
        else:
            stop.set()
            screen.say("stopping: finishing what was begun; once more to end at once")

    def on_hangup() -> None:
        if not stop.is_set():  # of one closed terminal, the kernel and the shell both tell
            on_signal(signal.SIGHUP)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    if on_terminal:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    return received


def _reload_on_signal(deployment: LocalDeployment, screen: Screen) -> asyncio.Task[None]:
    """Returns what does it, one after another, for as long as signals come."""
    from deploy.control import Refused

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)

    async def follow() -> None:
        while await told.wait():
            told.clear()
            screen.say("reading the configuration again")
            try:
                await deployment.reload(screen.say)
            except Refused as error:
                screen.say(f"not reloaded: {error}")
            except Exception as error:  # the next signal may do better
                screen.say(f"not reloaded: {type(error).__name__}: {error}")

    return asyncio.create_task(follow())


async def _say_when_it_answers(deployment: LocalDeployment, screen: Screen) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{deployment.url}/livez")).is_success:
                    break
            await asyncio.sleep(_PROBE_SECONDS)
    screen.say(f"the API answers at {deployment.url}")


@contextlib.contextmanager
def _to_whoever_looks() -> Iterator[None]:
    """What cannot be written is not: the platform serves whether or not anybody looks."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EIO, errno.EPIPE):  # nobody will: else Python fails at its end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


class Screen(Protocol):
    """Where the platform's state is shown; nothing fails where that is gone."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: object) -> None: ...

    def say(self, line: str) -> None:
        """Something that stays."""

    def show(self, processes: Sequence[ProcessInfo]) -> None:
        """The processes as they are now."""


class PlainScreen:
    """One line per change of a state."""

    def __init__(self) -> None:
        self._narrator = Narrator()

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...

    def say(self, line: str) -> None:
        with _to_whoever_looks():
            print(line, flush=True)

    def show(self, processes: Sequence[ProcessInfo]) -> None:
        for change in self._narrator.changes(processes):
            self.say(change.line)
        summary = self._narrator.summary(processes)
        if summary is not None:
            self.say(summary)


class LiveScreen:
    """A table that is drawn anew, and above it what stays."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = open_console(sys.stdout)
        self._narrator = Narrator()
        self._live: Live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> None:
        with _to_whoever_looks():
            self._live.start()

    def __exit__(self, *exception: object) -> None:
        with _to_whoever_looks():
            self._live.stop()

    def say(self, line: str) -> None:
        with _to_whoever_looks():
            self._console.print(line)

    def show(self, processes: Sequence[ProcessInfo]) -> None:
        for change in self._narrator.changes(processes):
            if change.bad:
                self.say(change.line)
        summary = self._narrator.summary(processes)
        if summary is not None:
            self.say(summary)
        with _to_whoever_looks():
            self._live.update(process_table(processes), refresh=True)
