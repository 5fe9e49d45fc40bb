"""What a setting would do to the traffic that was recorded.

Asks the hosts of a model what its batches take, and replays arrivals through their
own decisions (`minion.host.simulation`), as they came or as they would come to other
machines, at another rate. Changes nothing. The command line calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np

from coordinator.arrivals import RECORD, Records
from deploy.status import read_status
from minion.host.dispatch import Ran
from minion.host.replay import Replay
from minion.host.simulation import Arrival, Outcome, Setting, simulate
from wire.flows import Flow
from wire.tuning import Tuning

#: A host answers within milliseconds, or hangs.
_ANSWER_SECONDS = 5.0
#: At another rate, each further copy of a caller comes up to this much earlier or later.
_SHIFT_SECONDS = 60.0
#: From so many arrivals on, a second process is worth its start.
_MANY = 20_000


class CannotPlan(Exception):
    """Something is not known; the text says what, and where it would come from."""


class Today(NamedTuple):
    """A model as it is served now."""

    setting: Setting
    ran: Sequence[Ran]
    """Batches that were answered lately; at least one."""


class Wish(NamedTuple):
    """A setting, and what else is to be different."""

    setting: Setting
    rate: float = 1.0
    """So many times as many arrivals."""
    cost: float = 1.0
    """So many times as long for each batch."""


class Figures(NamedTuple):
    """What would become of the arrivals. Times are those in the lane, in seconds."""

    arrivals: int
    p50: float
    p95: float
    p99: float
    refused: float
    """The part that gets a 429."""
    late: float
    """The part that gets a 504: refused since its deadline could not be met, or expired."""
    batch_size: float
    """The mean."""
    batches: dict[int, int]
    """How many of which size."""
    busy: float
    """The part of the workers' time that is spent on batches."""
    queue_limit: int
    """Of one machine, at the end: it follows the cost where a promise governs."""


class _Host(msgspec.Struct):
    """What a host says under `/cost`."""

    settings: dict[str, Any]
    workers: int
    batches: list[Ran]


def ask_hosts(home: Path, model: str, version: str) -> Today:
    """What the hosts of this version know.

    Raises:
        CannotPlan: none runs, none answers, or none has had a batch.
    """
    status = read_status(home)
    if not status.running:
        raise CannotPlan(
            f"nothing runs on {home}, and what batches of {model} take is known by who runs "
            "them; start the platform with `demitasse up`"
        )
    addresses = [
        each.address
        for each in status.processes
        if (each.model, each.version) == (model, version) and each.address is not None
    ]
    hosts = [_asked(address) for address in addresses]
    if not hosts:
        raise CannotPlan(f"{model} {version} is not served; `demitasse status` shows what is")
    ran = [each for host in hosts for each in host.batches]
    if not ran:
        raise CannotPlan(
            f"{model} {version} has not answered anything since it was started: what its batches "
            "take is not known yet"
        )
    first = hosts[0]
    tuning = Tuning(**first.settings, revision=0)
    return Today(Setting(tuning, max(first.workers, 1), len(hosts)), ran)


def _asked(address: str) -> _Host:
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    try:
        with httpx.Client(transport=transport, timeout=_ANSWER_SECONDS) as client:
            return msgspec.json.decode(client.get("http://minion/cost").content, type=_Host)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise CannotPlan(
            "a host does not say what its batches take; `demitasse status` shows how it is"
        ) from error


def forecast(records: Records, ran: Sequence[Ran], wishes: Sequence[Wish]) -> list[Figures]:
    """What becomes of the arrivals with each of these.

    Args:
        records: at least one, in order; see `coordinator.arrivals`.
    """
    play = partial(_played, records, ran)
    if len(wishes) == 1 or len(records) < _MANY:
        return [play(wish) for wish in wishes]
    with ProcessPoolExecutor(len(wishes)) as pool:
        return list(pool.map(play, wishes))


def _played(records: Records, ran: Sequence[Ran], wish: Wish) -> Figures:
    device = Replay(ran, factor=wish.cost)
    arrivals = arrivals_of(at_rate(records, wish.rate, seed=1))
    return figures(simulate(arrivals, wish.setting, device), wish.setting)


def at_rate(records: Records, factor: float, *, seed: int) -> Records:
    """So many times as many arrivals, from so many times as many callers.

    A copy of a caller comes as that one does, burst by burst, some seconds earlier or
    later; of a part of a copy, arrivals are drawn. What goes over an end of the time comes
    in at the other.
    """
    draw = np.random.default_rng(seed)
    whole, part = divmod(factor, 1.0)
    copies = []
    for number in range(int(whole) + (part > 0)):
        copy = records.copy()
        if number == int(whole):
            copy = copy[draw.random(len(copy)) < part]
        if number and len(copy):
            _shift(copy, number, records["at"][0], np.ptp(records["at"]), draw)
        copies.append(copy)
    together: Records = np.concatenate(copies) if copies else np.empty(0, RECORD)
    return together[np.argsort(together["at"], kind="stable")]


def _shift(
    copy: Records, number: int, began: float, lasted: float, draw: np.random.Generator
) -> None:
    callers, which = np.unique(copy["caller"], return_inverse=True)
    shifts = draw.uniform(-_SHIFT_SECONDS, _SHIFT_SECONDS, len(callers))[which]
    copy["at"] = began + np.mod(copy["at"] - began + shifts, max(lasted, 1e-9))
    copy["caller"] += np.uint64(number)  # somebody else


def arrivals_of(records: Records) -> list[Arrival]:
    """Records as the simulator takes them. Those refused before their size was known get that
    of another."""
    sizes = records["size_bytes"].copy()
    unknown = sizes == 0
    if unknown.any() and not unknown.all():
        draw = np.random.default_rng(1)
        sizes[unknown] = draw.choice(sizes[~unknown], unknown.sum())
    columns = (records[name].tolist() for name in ("rank", "caller", "weight"))
    flows = (Flow(*each) for each in zip(*columns, strict=True))
    times, timeouts = records["at"].tolist(), records["timeout_seconds"].tolist()
    return list(map(Arrival, times, sizes.tolist(), timeouts, flows))


def figures(outcome: Outcome, setting: Setting) -> Figures:
    """What there is to say of it."""
    seconds = np.asarray(outcome.seconds)
    p50, p95, p99 = np.quantile(seconds, (0.5, 0.95, 0.99)) if len(seconds) else (0.0, 0.0, 0.0)
    batches = outcome.batches
    lasted = (outcome.ended - outcome.began) * setting.workers * setting.machines
    return Figures(
        arrivals=outcome.arrived,
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        refused=outcome.refused / max(outcome.arrived, 1),
        late=(outcome.too_late + outcome.expired) / max(outcome.arrived, 1),
        batch_size=len(seconds) / max(batches.total(), 1),
        batches=dict(sorted(batches.items())),
        busy=outcome.busy_seconds / lasted if lasted else 0.0,
        queue_limit=outcome.limit,
    )
