"""What became of a request, found in whichever process on this port dealt with it.

With several coordinator processes on one port any of them is asked, and one has
the record. Each listens on a Unix socket in a folder that they share: the id as a
line of JSON comes in, a list of documents goes out, and that is all. Nobody keeps a list: whoever
has a socket there is asked, and those that have died do not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from coordinator.errors import UnknownRequest
from coordinator.explanations import document
from coordinator.records import KEPT_SECONDS, Records
from wire.quoting import quoted

#: In which a process on this machine has answered, unless it is stuck.
PATIENCE_SECONDS = 1.0
_PREFIX, _SUFFIX = "c-", ".sock"


class Inquiries:
    """Answers from one process's records and, through their sockets, from those of its siblings."""

    def __init__(self, records: Records, folder: Path | None = None) -> None:
        """
        Args:
            folder: where the processes that share a port have their sockets; None: there is one.
        """
        self._records = records
        self._folder = folder
        self._own = f"{_PREFIX}{os.urandom(4).hex()}{_SUFFIX}"

    async def find(self, id: str) -> list[dict[str, Any]]:
        """The documents of all records of this id on this machine, the oldest first.

        Raises:
            UnknownRequest: there is none.
        """
        found = self._here(id)
        others = await asyncio.gather(*(_ask(path, id) for path in self._siblings()))
        for documents in others:
            found += documents or []
        if not found:
            raise UnknownRequest(_unknown(id, silent=others.count(None)))
        return sorted(found, key=lambda each: str(each["at"]))

    @contextlib.asynccontextmanager
    async def open_to_siblings(self) -> AsyncIterator[None]:
        """They may ask while the block lasts."""
        if self._folder is None:
            yield
            return
        path = self._folder / self._own
        server = await asyncio.start_unix_server(self._answer, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    def _here(self, id: str) -> list[dict[str, Any]]:
        now, wall = time.monotonic(), time.time()
        return [document(record, now=now, wall=wall) for record in self._records.find(id, now)]

    def _siblings(self) -> list[Path]:
        if self._folder is None:
            return []
        sockets = self._folder.glob(f"{_PREFIX}*{_SUFFIX}")
        return [path for path in sockets if path.name != self._own]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                id = msgspec.json.decode(await reader.readline(), type=str)
                writer.write(msgspec.json.encode(self._here(id)))
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # whoever asked has left, or is no sibling
        finally:
            writer.close()


async def _ask(path: Path, id: str) -> list[dict[str, Any]] | None:
    """What one sibling knows; None where it does not answer in time. The dead know nothing."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(msgspec.json.encode(id) + b"\n")
                answer = await reader.read(-1)
            finally:
                writer.close()
        return msgspec.json.decode(answer, type=list[dict[str, Any]])
    except (ConnectionError, FileNotFoundError):
        return []
    except (OSError, ValueError, TimeoutError):
        return None


def _unknown(id: str, *, silent: int) -> str:
    minutes = KEPT_SECONDS / 60
    text = f"no request {quoted(id)} in the last {minutes:g} minutes, or so many came since"
    return f"{text}; {silent} of the processes on this port did not answer" if silent else text
