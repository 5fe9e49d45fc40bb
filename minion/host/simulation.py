"""What would become of these arrivals: a lane's own decisions, without its clock and its workers.

Replays arrivals through the same admission, queue, batching and learning as `lane`, in
virtual time; what a batch takes, a `Device` says. Nothing here waits and nothing is
run. Pure; the planner and benchmarks ask.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from minion.host.admission import Admission, TooLate
from minion.host.batch import Batch, Wait
from minion.host.bouncer import Ending, QueueFull
from minion.host.dispatch import Dispatcher, Ran
from minion.host.inputs import Group
from minion.host.views import Views
from wire.flows import ANYBODY, Flow
from wire.tuning import Tuning


class Arrival(NamedTuple):
    """One example that comes to the door."""

    at: float
    """Seconds on any clock; arrivals are in this order."""
    size_bytes: int = 0
    """Of its inputs. Those of one size may share a batch."""
    timeout_seconds: float = math.inf
    flow: Flow = ANYBODY


class Device(Protocol):
    """What runs batches."""

    def seconds(self, size: int, running: int) -> float:
        """How long the next batch takes, as one of so many side by side."""

    def observed(self) -> Iterable[Ran]:
        """Batches that hosts have learned from already."""


class Setting(NamedTuple):
    """What arrivals are replayed on."""

    tuning: Tuning
    workers: int = 1
    """Per machine."""
    machines: int = 1
    coordinators: int = 1
    """Arrivals are dealt out to them in turn."""


class Outcome:
    """What became of the arrivals."""

    def __init__(self) -> None:
        self.seconds = array("d")
        """From the door to the answer, of each that was answered."""
        self.refused = 0
        """At the door, for want of room: a 429."""
        self.too_late = 0
        """At the door, since they would not be answered before their deadline: a 504."""
        self.expired = 0
        """Let in, and not answered before their deadline: a 504."""
        self.batches: Counter[int] = Counter()
        """How many were of which size."""
        self.busy_seconds = 0.0
        """Of all workers together."""
        self.began = self.ended = 0.0
        """The first arrival, and the last answer or arrival."""
        self.limit = 0
        """The queue limit of the first machine, at the end."""

    @property
    def arrived(self) -> int:
        return len(self.seconds) + self.refused + self.too_late + self.expired


class Example:
    """One that was let in."""

    __slots__ = ("at", "coordinator", "deadline", "flow", "group")

    def __init__(self, arrival: Arrival, group: Group, coordinator: int) -> None:
        self.at, _, timeout, self.flow = arrival
        self.deadline: float | None = self.at + timeout if timeout < math.inf else None
        self.group = group
        self.coordinator = coordinator


class Run:
    """A batch on a worker."""

    __slots__ = ("beside", "members", "started")

    def __init__(self, members: list[Example]) -> None:
        self.members = members
        self.started = 0.0
        self.beside = 0


class Worker:
    """Runs a batch and may have the next one, as `workers.Worker`."""

    __slots__ = ("next", "running")

    def __init__(self) -> None:
        self.running: Run | None = None
        self.next: Run | None = None


def simulate(arrivals: Iterable[Arrival], setting: Setting, device: Device) -> Outcome:
    """Replays the arrivals to the last answer."""
    return Simulation(setting, device).run(arrivals)


class Simulation:
    """Virtual time, and the machines that live in it."""

    def __init__(self, setting: Setting, device: Device) -> None:
        self.device = device
        self.now = 0.0
        self.outcome = Outcome()
        self.views = Views(setting.machines, setting.coordinators)
        self._machines = [Machine(self, number, setting) for number in range(setting.machines)]
        self._events: list[tuple[float, int, Machine, Worker | None]] = []
        self._count = 0
        self._groups: dict[int, Group] = {}

    def run(self, arrivals: Iterable[Arrival]) -> Outcome:
        outcome, events = self.outcome, self._events
        touched: Machine | None = None
        for number, arrival in enumerate(arrivals):
            if touched is not None and arrival.at > self.now:
                touched.pump()
                touched = None
            while events and events[0][0] <= arrival.at:
                self._step()
            self.now = arrival.at
            if not number:
                outcome.began = self.now
            machine = self._arrive(arrival, number)
            if touched is not None and machine is not touched:
                touched.pump()
            touched = machine
        if touched is not None:
            touched.pump()
        outcome.ended = self.now
        while events:
            self._step()
        outcome.ended = max(outcome.ended, self.now)
        outcome.limit = self._machines[0].bouncer.limit
        return outcome

    def at(self, moment: float, machine: Machine, worker: Worker | None) -> None:
        """The worker will be done then; without one, the machine wants to look."""
        self._count += 1  # so that no two events are equal
        heappush(self._events, (moment, self._count, machine, worker))

    def group(self, size_bytes: int) -> Group:
        found = self._groups.get(size_bytes)
        if found is None:
            found = self._groups[size_bytes] = Group(size_bytes)
        return found

    def _arrive(self, arrival: Arrival, number: int) -> Machine | None:
        """The machine that has taken it; None: it was refused."""
        chosen = self.views.choose(number, self.now)
        if chosen is None:
            self.outcome.refused += 1
            return None
        coordinator, place = chosen
        machine = self._machines[place]
        return machine if machine.arrive(arrival, coordinator) else None

    def _step(self) -> None:
        self.now, _, machine, worker = heappop(self._events)
        if worker is None:
            machine.wake()
        else:
            machine.done(worker)


class Machine:
    """One host: what `lane` is beside a real one."""

    def __init__(self, simulation: Simulation, number: int, setting: Setting) -> None:
        self._simulation = simulation
        self._number = number
        self._workers = [Worker() for _ in range(setting.workers)]
        self._dispatcher: Dispatcher[Example] = Dispatcher(setting.tuning)
        for size, seconds, running in simulation.device.observed():
            self._dispatcher.cost.observe(size, seconds, running=min(running, setting.workers))
        self._admission = Admission(setting.tuning, self._dispatcher, setting.workers)
        self.bouncer = self._admission.bouncer
        self._wakes = math.inf
        simulation.views.limit(number, self.bouncer.limit)

    def arrive(self, arrival: Arrival, coordinator: int) -> bool:
        """Whether it was let in."""
        simulation = self._simulation
        try:
            timeout = arrival.timeout_seconds
            self._admission.admit(
                arrival.flow,
                timeout if timeout < math.inf else None,
                simulation.now,
                idle=self._idle,
            )
        except QueueFull:
            simulation.outcome.refused += 1
            return False
        except TooLate:
            simulation.outcome.too_late += 1
            return False
        simulation.views.took(coordinator, self._number)
        example = Example(arrival, simulation.group(arrival.size_bytes), coordinator)
        self._dispatcher.offer(example, simulation.now)
        if example.deadline is not None:
            self._wake_at(self._dispatcher.queue.next_expiry)
        return True

    def pump(self) -> None:
        """Gives workers what is due."""
        dispatcher, now = self._dispatcher, self._simulation.now
        dispatcher.look(now)
        while to := self._next_workers():
            idle = len(to) if to[0].running is None else 0
            decision = dispatcher.decide(now, idle=idle, takers=len(to))
            if isinstance(decision, Wait):
                self._wake_at(decision.until)
            if not isinstance(decision, Batch):
                return
            self._expire(decision.late)
            if decision.members:
                self._hand(to[0], Run(decision.members))

    def wake(self) -> None:
        """What was waited for may have come."""
        now = self._simulation.now
        if now < self._wakes:
            return  # an earlier moment took its place
        self._wakes = math.inf
        self._expire(self._dispatcher.queue.expire(now))
        self._wake_at(self._dispatcher.queue.next_expiry)
        self.pump()

    def done(self, worker: Worker) -> None:
        """Its batch is answered; it goes on with the next one, if it has that."""
        simulation, run = self._simulation, worker.running
        assert run is not None
        now, outcome = simulation.now, simulation.outcome
        outcome.busy_seconds += self._dispatcher.done(run, now)
        if self._admission.learned(now):
            simulation.views.limit(self._number, self.bouncer.limit)
        outcome.batches[len(run.members)] += 1
        outcome.seconds.extend([now - example.at for example in run.members])
        self._leave(run.members, Ending.COMPLETED)
        self._dispatcher.answered(now, left=self.bouncer.occupied)
        following, worker.running, worker.next = worker.next, None, None
        if following is not None:
            self._begin(worker, following)
        self.pump()

    def _next_workers(self) -> list[Worker]:
        """Those that are idle; if none is, those that take their next batch."""
        return self._idle() or [worker for worker in self._workers if worker.next is None]

    def _idle(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.running is None]

    def _hand(self, worker: Worker, run: Run) -> None:
        if worker.running is None:
            self._begin(worker, run)
        else:
            worker.next = run

    def _begin(self, worker: Worker, run: Run) -> None:
        simulation = self._simulation
        worker.running = run
        self._dispatcher.begun(run, simulation.now)
        seconds = simulation.device.seconds(len(run.members), run.beside)
        simulation.at(simulation.now + seconds, self, worker)

    def _expire(self, late: Sequence[Example]) -> None:
        if late:
            self._simulation.outcome.expired += len(late)
            self._leave(late, Ending.EXPIRED)

    def _leave(self, members: Sequence[Example], ending: Ending) -> None:
        self.bouncer.leave(ending, len(members))
        if self._admission.left(self._simulation.now):
            self._simulation.views.limit(self._number, self.bouncer.limit)
        self._simulation.views.left(self._number, [each.coordinator for each in members])

    def _wake_at(self, moment: float) -> None:
        if moment < self._wakes:
            self._wakes = moment
            self._simulation.at(moment, self, None)
