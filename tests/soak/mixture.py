"""Requests of every kind, and callers who send them: good ones, bad ones, some who hang up.

Each request follows from a seed and its number. Bad ones are those of the fuzzer; who
hangs up does so in the head, in the body, or while it waits. Every good answer is
compared with what is right. Runs in a process of its own: `attack` starts it and
reads back what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import io
import itertools
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop
from PIL import Image

from tests.acceptance.platform import EXAMPLES, ROOT
from tests.fuzz.attack import answered, judged, tried
from tests.fuzz.cases import Cases
from tests.packages import variant

BAD, LEAVING = 0.2, 0.05
#: Of those who are not bad and stay: on a new connection.
STRANGERS = 0.1
CALLERS = 48
PATIENCE_SECONDS = 30.0
#: While it waits, somebody hangs up after so long at most.
STAY_SECONDS = 0.02
#: Who kept a connection for longer opens another: `SETTINGS` say when the first is closed.
IDLE_SECONDS = 2.0
_COLOURS = 500
#: Of the largest photo. What decoding takes stays with the process that did it.
_SIDE = 1000
_PHOTO = (EXAMPLES / "photos" / "cat.jpg").read_bytes()
#: The attacked wait as long for the rest of a request as those of the fuzzer do.
SETTINGS = {
    "head_timeout": "0.3",
    "body_idle_timeout": "0.3",
    "body_timeout": "1",
    "lingering_time": "0.2",
    "keepalive_timeout": "8",
    "max_image_pixels": str(_SIDE**2),
}


class Request(NamedTuple):
    data: bytes
    """As it goes over the connection."""
    body_at: int
    right: tuple[bytes, ...]
    """What stands in the body of its answer."""


def packages(folder: Path) -> list[Path]:
    """The models that the fuzzer knows, the no-op one, and the device made of arithmetic."""
    models = ROOT / "tests" / "coordinator" / "models"
    room = "[batching]\nmax_batch_size = 8\n[admission]\nqueue_limit = 256\n"
    return [
        variant(models / "gate", folder, more=room),
        variant(models / "picture", folder, more=room),
        variant(
            EXAMPLES / "simulated",
            folder,
            {
                "scale = 1.0": "scale = 0.001",
                "queue_limit = 10": "queue_limit = 256",
                "max_batch_size = 1": "max_batch_size = 8",
            },
        ),
        EXAMPLES / "noop",
    ]


# What is sent.


def post(path: str, media_type: str, body: bytes, *right: bytes) -> Request:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return Request(head + body, len(head), right)


def numbers(chance: random.Random, number: int) -> Request:
    body = f'{{"inputs": {{"x": [{number % 2**24}, 0.5]}}}}'.encode()
    right = b'"x":[%d.0,0.5]' % (number % 2**24)
    return post("/models/gate/infer", "application/json", body, right)


def arithmetic(chance: random.Random, number: int) -> Request:
    body = f'{{"inputs": {{"x": [{number % 2**24}]}}}}'.encode()
    right = b'"x":%d.0' % (number % 2**24)
    return post("/models/simulated/infer", "application/json", body, right)


def tensor(chance: random.Random, number: int) -> Request:
    """Small, or large enough to be received into shared memory."""
    length = chance.choice((1, 30, 1000, 20_000, 37_632))
    body = np.full(length, number, np.float32).tobytes()
    return post("/models/noop/infer", "application/octet-stream", body, b'"n":%d' % length)


def pixels(chance: random.Random, number: int) -> Request:
    photo, right = chance.choice(photos())
    return post("/models/picture/infer", "image/png", photo, right)


def photo(chance: random.Random, number: int) -> Request:
    photo, right = chance.choice(photos())
    return post("/analyze", "image/png", photo, right)


def camera(chance: random.Random, number: int) -> Request:
    """No two alike: what follows the end of the picture is not looked at."""
    return post("/analyze", "image/jpeg", _PHOTO + b"%d" % number, b'"colour":[')


def form(chance: random.Random, number: int) -> Request:
    chosen = [chance.choice(photos()) for _ in range(chance.choice((1, 1, 2, 4)))]
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n\r\n%b\r\n'
        % (index, photo)
        for index, (photo, _) in enumerate(chosen)
    ]
    body = b"".join(parts) + b"--cut--\r\n"
    media_type = "multipart/form-data; boundary=cut"
    return post("/analyze", media_type, body, *(right for _, right in chosen))


def listed(chance: random.Random, number: int) -> Request:
    photo, right = chance.choice(photos())
    body = json.dumps({"images": [base64.b64encode(photo).decode()]}).encode()
    return post("/analyze?models=picture", "application/json", body, right)


KINDS: tuple[Callable[[random.Random, int], Request], ...] = (
    *([numbers] * 14), *([arithmetic] * 4), *([tensor] * 6), pixels, photo, camera, form, listed,
)  # fmt: skip


@functools.cache
def photos() -> tuple[tuple[bytes, bytes], ...]:
    """PNGs of one colour and many sizes, with what the model says of each."""
    chance = random.Random(1)
    sides = [(chance.randrange(8, 300), chance.randrange(8, 300)) for _ in range(_COLOURS)]
    return tuple(_photo(chance, size) for size in (*sides, (_SIDE, _SIDE)))


def _photo(chance: random.Random, size: tuple[int, int]) -> tuple[bytes, bytes]:
    colour = tuple(chance.randrange(256) for _ in range(3))
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue(), b'"colour":[%d.0,%d.0,%d.0]' % colour


# Who sends it.

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LOST = "lost"


async def ask(request: Request, connection: Connection) -> tuple[str, str | None]:
    """What came back, status and code or `LOST`; and what is wrong with it."""
    reader, writer = connection
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(request.data)
            answer = await answered(reader)
    except (OSError, EOFError, ValueError) as error:
        return LOST, f"a good request met {type(error).__name__}: {error}"
    if answer is None:
        return LOST, "the connection of a good request was closed"
    what, code = judged(answer)
    if what is None and answer.status == 200:
        what = None if all(each in answer.body for each in request.right) else "wrong"
    told = f"{what}: {request.data[:300]!r} got {answer.status} {answer.body[:300]!r}"
    return f"{answer.status} {code}", None if what is None else told


class Kept:
    """A caller's connection, until it has not been used for a while."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._open: Connection | None = None
        self._used = 0.0

    async def connection(self) -> Connection:
        now = time.monotonic()
        if self._open is not None and now > self._used + IDLE_SECONDS:
            self.close()
        self._used = now
        self._open = self._open or await self._connect()
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


class Callers:
    """So many at once; what they saw is counted in `seen`.

    Args:
        numbers: of the requests, each of which is sent once.
    """

    def __init__(self, port: int, seed: str, numbers: Iterator[int]) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._port = port
        self._seed = seed
        self._cases = Cases(seed)
        self._numbers = numbers

    async def ask(self) -> None:
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(self._one_after_the_other())

    async def _one_after_the_other(self) -> None:
        kept = Kept(self._connected)
        for number in self._numbers:
            chance = random.Random(f"{self._seed}/{number}/mixture")
            turn = chance.random()
            if turn < BAD:
                await self._send_a_bad_one(number)
                continue
            request = chance.choice(KINDS)(chance, number)
            if turn < BAD + LEAVING:
                await self._hang_up(request, chance)
            else:
                if chance.random() < STRANGERS:
                    kept.close()
                if not await self._good(request, await kept.connection()):
                    kept.close()
        kept.close()

    async def _connected(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _send_a_bad_one(self, number: int) -> None:
        seen: Counter[str] = Counter()
        what = await tried(self._port, self._cases.case(number), seen)
        self.seen += Counter({f"bad: {answer}": count for answer, count in seen.items()})
        if what is not None:
            self.wrong.append(f"FUZZ_SEED={self._seed} case {number}: {what}")

    async def _hang_up(self, request: Request, chance: random.Random) -> None:
        _, writer = await self._connected()
        ends = {
            "in the head": chance.randrange(request.body_at),
            "in the body": chance.randrange(request.body_at, len(request.data)),
            "while waiting": len(request.data),
        }
        where = chance.choice(list(ends))
        writer.write(request.data[: ends[where]])
        await asyncio.sleep(chance.uniform(0, STAY_SECONDS))
        self.seen[f"hung up {where}"] += 1
        writer.transport.abort() if chance.random() < 0.5 else writer.close()

    async def _good(self, request: Request, connection: Connection) -> bool:
        """Whether it was answered, so that the connection can be kept."""
        code, what = await ask(request, connection)
        self.seen[f"good: {code}"] += 1
        if what is not None:
            self.wrong.append(what)
        return code != LOST


def attack(port: int, seed: str, first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Sends these requests from a process of its own.

    Returns:
        How often each status and code came, and what was wrong.
    """
    command = [sys.executable, "-m", "tests.soak.mixture", str(port), seed, str(first), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    seen, wrong = json.loads(done.stdout)
    return Counter(seen), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("seed")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    told = parser.parse_args()
    numbers = itertools.islice(itertools.count(told.first), told.count)
    callers = Callers(told.port, told.seed, numbers)
    uvloop.run(callers.ask())
    print(json.dumps([callers.seen, callers.wrong]))


if __name__ == "__main__":
    main()
