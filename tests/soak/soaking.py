"""Mixed requests, piece by piece, and what the platform holds after each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.status import read_status
from tests.acceptance.invariants import shared_memory
from tests.acceptance.platform import Platform
from tests.soak.held import Held, State, held
from tests.soak.mixture import attack

#: For connections that linger, after the rest.
LINGER_SECONDS = 15.0
#: Of a minion, when nobody asks.
ZERO = ("demitasse_minion_occupied", "demitasse_minion_queued", "demitasse_minion_failed")


def soak(
    platform: Platform, seed: str, count: int, pieces: int, rests: Mapping[int, float]
) -> tuple[list[State], Counter[str], list[str]]:
    """What is held before the first piece and after each, what callers saw, and what was wrong.

    Args:
        rests: for how many seconds nobody asks before somebody looks, by the pieces done by then.
    """
    port = urlsplit(platform.url).port or 80
    states, seen, wrong = [settled(platform, rests.get(0, 0.0))], Counter[str](), []
    size = count // pieces
    for piece in range(pieces):
        began = time.monotonic()
        more, bad = attack(port, seed, piece * size, size)
        rate = size / (time.monotonic() - began)
        seen += more
        wrong += bad
        states.append(settled(platform, rests.get(piece + 1, 0.0)))
        total = sum(each.memory_bytes for each in states[-1].processes.values())
        print(f"{(piece + 1) * size}: {rate:.0f} a second, {total / 1e6:.1f} MB", flush=True)
    wrong += [f"{name} is {value:g}" for name, value in gauges(platform).items()]
    return states, seen, wrong


def settled(platform: Platform, rest_seconds: float) -> State:
    """What it holds after a rest, once that has stopped becoming less."""
    time.sleep(rest_seconds)
    ends = time.monotonic() + LINGER_SECONDS
    seen = held(platform.process.pid)
    while time.monotonic() < ends:
        time.sleep(1.0)
        before, seen = seen, held(platform.process.pid)
        if _descriptors(seen) >= _descriptors(before) and not gauges(platform):
            break
    return State(seen, shared_memory())


def _descriptors(processes: dict[int, Held]) -> int:
    return sum(each.descriptors for each in processes.values())


def roles(platform: Platform) -> dict[int, str]:
    """What each process is, as far as the supervisor lists them."""
    listed = read_status(platform.home).processes
    return {
        each.pid: " ".join(filter(None, (each.role, each.model))) for each in listed if each.pid
    }


def gauges(platform: Platform) -> dict[str, float]:
    """Those that are not at zero, although nobody asks."""
    found: dict[str, float] = {}
    for each in read_status(platform.home).processes:
        if each.address is not None and each.address.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=each.address.removeprefix("unix:"))
            with httpx.Client(transport=transport) as client:
                text = client.get("http://minion/metrics").text
            for family in text_string_to_metric_families(text):
                if family.name in ZERO and family.samples[0].value:
                    found[f"{family.name} of {each.model}"] = family.samples[0].value
    return found
