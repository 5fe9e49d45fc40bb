"""Callers who know what is right: requests in an open loop, each with a payload of its own.

Whatever comes back is one of `Saw`. Poisson arrivals from a seed; a request sets out when
it is due, whether or not those before it were answered.
"""

from __future__ import annotations

import asyncio
import enum
import io
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from PIL import Image

#: What callers grant, and how much longer they wait for what comes of it.
TIMEOUT_SECONDS, PATIENCE_SECONDS = 8.0, 20.0


class Saw(enum.Enum):
    RIGHT = "right"
    TOLD = "told"
    """Refused or given up in words: problem+json, retryable, and when to come back, or in time."""
    WRONG = "wrong"
    """An answer, and not that of this request."""
    FAILED = "failed"
    """An error that no caller can act upon."""
    CUT = "cut"
    """The connection ended without an answer."""


@dataclass
class Seen:
    """What all requests saw."""

    counts: Counter[Saw] = field(default_factory=Counter)
    examples: dict[Saw, list[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    cut_at: list[float] = field(default_factory=list)
    """On the monotonic clock."""

    def note(self, saw: Saw, seconds: float, words: str) -> None:
        self.counts[saw] += 1
        self.seconds.append(seconds)
        if saw is Saw.CUT:
            self.cut_at.append(time.monotonic())
        if saw is not Saw.RIGHT:
            told = self.examples.setdefault(saw, [])
            if len(told) < 5:
                told.append(words)


class Probe:
    """Asks a platform for as long as it is told to.

    Args:
        url: of the public API.
        canary: stands in every request, and nowhere in a log.
    """

    def __init__(self, url: str, seed: int, canary: str) -> None:
        self.seen = Seen()
        self._draw = random.Random(seed)
        self._numbers = itertools.count(1)
        self._url = url
        self._headers = {"Demitasse-Caller": canary, "Demitasse-Timeout": f"{TIMEOUT_SECONDS:g}"}

    async def ask_for(self, seconds: float, *, rate: float) -> None:
        """Until that time is over and all that set out have ended."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=PATIENCE_SECONDS, limits=limits
        ) as client:
            asked: set[asyncio.Task[None]] = set()
            ends = due = time.monotonic()
            ends += seconds
            while (due := due + self._draw.expovariate(rate)) < ends:
                await asyncio.sleep(max(due - time.monotonic(), 0))
                task = asyncio.create_task(self._ask(client, next(self._numbers)))
                asked.add(task)
                task.add_done_callback(asked.discard)
            await asyncio.gather(*asked)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        began = time.monotonic()
        try:
            answer, right = await (self._photo if number % 2 else self._sum)(client, number)
        except httpx.TransportError as error:
            self.seen.note(Saw.CUT, time.monotonic() - began, f"{type(error).__name__}: {error}")
            return
        saw = judged(answer, right)
        self.seen.note(saw, time.monotonic() - began, f"{answer.status_code} {answer.text[:300]}")

    async def _photo(self, client: httpx.AsyncClient, number: int) -> tuple[httpx.Response, object]:
        colour = (number % 256, number // 256 % 256, number // 65536 % 256)
        picture = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(picture, "PNG")
        answer = await client.post(
            "/analyze",
            params={"require": "colour"},
            content=picture.getvalue(),
            headers={"Content-Type": "image/png", **self._headers},
        )
        return answer, list(colour)

    async def _sum(self, client: httpx.AsyncClient, number: int) -> tuple[httpx.Response, object]:
        values = [float(number), 0.25, 0.5, self._draw.random()]
        answer = await client.post(
            "/models/sum/infer",
            json={"inputs": {"x": values}},
            headers=self._headers,
        )
        return answer, sum(values)


def judged(answer: httpx.Response, right: object) -> Saw:
    if answer.status_code == 200:
        return Saw.RIGHT if said(answer) == right else Saw.WRONG
    try:
        problem = answer.json()
    except ValueError:
        return Saw.FAILED
    in_time = problem.get("code") == "deadline-exceeded"
    if problem.get("retryable") and ("Retry-After" in answer.headers or in_time):
        return Saw.TOLD
    return Saw.FAILED


def said(answer: httpx.Response) -> object:
    """What the model said, on either route."""
    document = answer.json()
    if "images" in document:
        return document["images"][0]["models"]["colour"]["output"]["colour"]
    return document["output"]["sum"]
