"""What culprits cost: batches of sixteen in which some end the process, hang, or raise.

A lane with real workers, as `benchmarks.lane` has one; no coordinator. For each kind of
culprit so many batches, one after the other, every culprit a new one, and at the end one
of them again. Prints a line for each: how many innocents were answered, how many
processes a culprit cost at most, how many the one that came again, and how long a batch took
from the first example in to the last answer out. Fails where an innocent was not
answered, or a culprit cost more than five processes, or any the second time. Ten minutes.

    python -m benchmarks.poison --rounds 100
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop

from minion.host.examples import Answered, Outcome, Refused
from minion.host.lane import Lane
from minion.host.server import run_one
from minion.host.spec import InputSpec, ServiceSpec
from minion.host.workers import State
from wire.tensor import Tensor

MODELS = Path(__file__).parent / "models"
SIZE = 16
MAX_DEATHS = 5
PREDICT_TIMEOUT_SECONDS = 1.0
#: Their numbers are above this; below are the innocent.
CULPRITS_FROM = 1000


class Kind(NamedTuple):
    of: str
    culprits: int = 1
    share: float = 1.0
    """Of the rounds."""
    spares: int = 0


KINDS = [
    Kind("raise"),
    Kind("abort"),
    Kind("abort", spares=1),
    Kind("exit", share=0.1),
    Kind("segmentation fault", share=0.1),
    Kind("abort", culprits=2, share=0.1),
    Kind("abort", culprits=16, share=0.05),
    Kind("hang", share=0.1),
    Kind("hang in C", share=0.1),
    Kind("hang", share=0.1, spares=1),
]


class Round(NamedTuple):
    """One batch."""

    answered: int
    deaths: int
    seconds: float


def spec(kind: Kind) -> ServiceSpec:
    return ServiceSpec(
        model="poisoned",
        version="1.0.0",
        replica="poisoned-1.0.0-0",
        epoch=0,
        python=sys.executable,
        directory=str(MODELS),
        entry="poisoned:Poisoned",
        inputs={"x": InputSpec("float32", (1,))},
        queue_limit=64,
        max_batch_size=SIZE,
        max_queue_delay_seconds=0.0,
        spares=kind.spares,
        predict_timeout_seconds=PREDICT_TIMEOUT_SECONDS,
        options={"of": kind.of, "from": CULPRITS_FROM},
    )


def x(value: int) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array([value], np.float32))}


async def ask(lane: Lane, value: int) -> Outcome | Refused:
    try:
        return await run_one(lane, x(value), {})
    except Refused as refused:
        return refused


async def is_ready(lane: Lane, spares: int) -> None:
    """Until there is an idle worker, and all spares have loaded. Workers ring no bell."""
    for _ in itertools.count():
        states = [worker.state for worker in lane.keeper.workers]
        if State.IDLE in states and states.count(State.SPARE) == spares:
            return
        await asyncio.sleep(0.01)


async def one_round(lane: Lane, number: int, culprits: int) -> Round:
    """The culprits stand at other places each time."""
    places = {(number * 7 + each * (SIZE // culprits)) % SIZE for each in range(culprits)}
    values = [
        CULPRITS_FROM + number * SIZE + place if place in places else place for place in range(SIZE)
    ]
    before, started = lane.keeper.restarts, time.monotonic()
    outcomes = await asyncio.gather(*(ask(lane, value) for value in values))
    seconds = time.monotonic() - started
    answered = [
        isinstance(outcome, Answered)
        for outcome, value in zip(outcomes, values, strict=True)
        if value < CULPRITS_FROM
    ]
    return Round(sum(answered), lane.keeper.restarts - before, seconds)


async def again(lane: Lane, number: int) -> int:
    """The processes that the last round's culprit costs the second time."""
    before = lane.keeper.restarts
    place = number * 7 % SIZE
    outcome = await ask(lane, CULPRITS_FROM + number * SIZE + place)
    assert not isinstance(outcome, Answered)
    return lane.keeper.restarts - before


async def measure(kind: Kind, rounds: int) -> bool:
    """Prints a line; whether all is as it should be."""
    lane = Lane(spec(kind))
    lane.start()
    found = []
    try:
        for number in range(rounds):
            await is_ready(lane, kind.spares)
            await ask(lane, 0)  # or a lane that answers nobody else has failed, and is left alone
            found.append(await one_round(lane, number, kind.culprits))
        await is_ready(lane, kind.spares)
        second = await again(lane, rounds - 1)
    finally:
        await lane.stop()
    innocents = (SIZE - kind.culprits) * rounds
    answered = sum(each.answered for each in found)
    deaths = max(each.deaths for each in found) / kind.culprits
    seconds = [each.seconds for each in found]
    told = f"{kind.of} x {kind.culprits}"
    print(
        f"{told:24} {kind.spares:6} {rounds:7} {answered:6} / {innocents:<6} {deaths:10.2f} "
        f"{second:7} {statistics.median(seconds):9.2f} {max(seconds):9.2f}",
        flush=True,
    )
    return answered == innocents and deaths <= MAX_DEATHS and not second


async def measure_all(rounds: int) -> bool:
    print(
        f"{'culprits in 16':24} {'spares':>6} {'rounds':>7} {'answered':>15} {'ends each':>10} "
        f"{'again':>7} {'median s':>9} {'max s':>9}"
    )
    fine = True
    for kind in KINDS:
        fine &= await measure(kind, max(1, round(rounds * kind.share)))
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    logging.getLogger("demitasse").setLevel(logging.ERROR)  # it warns of every process that ends
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        fine = runner.run(measure_all(arguments.rounds))
    sys.exit(0 if fine else "an innocent was not answered, or a culprit cost too much")


if __name__ == "__main__":
    main()
