"""How other commands of this machine have a running `demitasse up` do something.

A Unix socket beside those of the hosts, in a folder that is its owner's alone. What
is wanted comes as one line, and for each thing that there is to say a line of
JSON goes back; the last one says whether it was done. Whoever asked may leave:
what was begun is finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from deploy.machine import DeploymentError, socket_folder
from deploy.status import run_folder

_SOCKET = "control.sock"
#: In which whoever connects has said what is wanted.
_WORD_SECONDS = 1.0
#: In which a platform that runs has said that it has understood.
_ANSWER_SECONDS = 10.0

Say = Callable[[str], None]
Act = Callable[[Say], Awaitable[None]]
"""Does it, and says what there is to say; raises `Refused` where it cannot be done."""


class Refused(Exception):
    """It was not done; the text says why."""


class Line(msgspec.Struct):
    """Something that is said to whoever asked; the first one, that it was understood, is empty."""

    text: str
    done: bool | None = None
    """Of the last one: whether it was done."""


@contextlib.asynccontextmanager
async def taking_orders(folder: Path, acts: Mapping[str, Act]) -> AsyncIterator[None]:
    """While the block lasts; whoever is served at its end is cut off.

    Args:
        folder: for the socket.
        acts: what can be wanted.
    """
    path = folder / _SOCKET
    path.unlink(missing_ok=True)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await _serve(acts, reader, writer)
        finally:
            serving.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)
        for task in list(serving):
            task.cancel()
        if serving:
            await asyncio.wait(serving)


async def _serve(
    acts: Mapping[str, Act], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    def say(text: str, done: bool | None = None) -> None:
        if not writer.is_closing():
            writer.write(msgspec.json.encode(Line(text, done)) + b"\n")

    try:
        async with asyncio.timeout(_WORD_SECONDS):
            wanted = (await reader.readline()).decode().strip()
    except (TimeoutError, ValueError, OSError):
        return
    act = acts.get(wanted)
    if act is None:
        say(f"{wanted!r} is not understood; this `demitasse up` is another release's", False)
        return
    say("")
    try:
        await act(say)
    except Refused as error:
        say(str(error), False)
    except asyncio.CancelledError:
        say("the platform is being stopped", False)
        raise
    except Exception as error:
        say(f"it failed: {type(error).__name__}: {error}", False)
    else:
        say("done", True)


def order(home: Path, wanted: str, *, answer_seconds: float = _ANSWER_SECONDS) -> Iterator[str]:
    """Has the platform that runs on this home do something; what it says meanwhile.

    Raises:
        Refused: it was not done, or nothing runs there, or it does not answer.
    """
    nothing = f"nothing runs on {home}; start the platform with `demitasse up`"
    if not home.is_dir():
        raise Refused(nothing)  # and no folder is made
    try:
        path = socket_folder(run_folder(home)) / _SOCKET
    except DeploymentError as error:
        raise Refused(str(error)) from error
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(answer_seconds)
        try:
            connection.connect(str(path))
            connection.sendall(wanted.encode() + b"\n")
            connection.recv(1, socket.MSG_PEEK)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Refused(nothing) from None
        except TimeoutError:
            why = f"the `demitasse up` on {home} has not answered for {answer_seconds:g} s"
            raise Refused(f"{why}; is it stopped?") from None
        connection.settimeout(None)
        with connection.makefile("rb") as lines:
            for each in lines:
                line = msgspec.json.decode(each, type=Line)
                if line.done is None:
                    if line.text:
                        yield line.text
                elif line.done:
                    return
                else:
                    raise Refused(line.text)
    raise Refused("the platform ended before it was done")
