"""Which answer belongs to which batch, and where each one's inputs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from minion.host.handed import Handed, Outputs
from minion.host.poison import Loss
from wire.area import slots
from wire.batches import BatchFailure, BatchResult
from wire.errors import WireError
from wire.tensor import Tensor


class Numbers:
    """A batch of one number to an example, which is told nothing here."""

    suspected = False

    def __init__(self, *numbers: float, parameters: Mapping[str, Any] | None = None) -> None:
        self.inputs: Sequence[Mapping[str, Tensor]] = [
            {"x": Tensor.from_array(np.array([number], np.float32))} for number in numbers
        ]
        self.parameters = [parameters or {} for _ in numbers]

    def begun(self) -> None: ...
    def done(self, result: BatchResult, outputs: Outputs) -> None: ...
    def failed(self, failure: BatchFailure) -> None: ...
    def lost(self, loss: Loss) -> None: ...
    def returned(self) -> None: ...


MEMORY = memoryview(bytearray(4096))
AREAS = slots(MEMORY)


def test_a_batch_waits_until_it_begins_and_runs_until_it_is_answered():
    handed, batch = Handed(), Numbers(1)
    run = handed.add(batch, AREAS)

    assert (handed.running, handed.waiting) == (False, True)
    assert handed.begin() is batch
    assert (handed.running, handed.waiting) == (True, False)
    assert handed.finish(run.id) is batch
    assert (handed.running, handed.begin()) == (False, None)


def test_the_inputs_of_the_next_batch_lie_beside_those_of_the_one_that_runs():
    handed = Handed()
    first = handed.add(Numbers(1, 2), AREAS)
    handed.begin()
    second = handed.add(Numbers(3, 4), AREAS)

    assert AREAS[0].view(first.inputs["x"]).tolist() == [[1], [2]]
    assert AREAS[0].view(second.inputs["x"]).tolist() == [[3], [4]]


def test_parameters_travel_where_any_example_has_some():
    handed = Handed()

    assert handed.add(Numbers(1), AREAS).parameters == ()
    handed.begin()
    assert handed.add(Numbers(1, parameters={"top": 3}), AREAS).parameters == [{"top": 3}]


def test_an_answer_to_a_batch_that_waits_or_never_was_is_refused():
    handed = Handed()
    first = handed.add(Numbers(1), AREAS)
    with pytest.raises(WireError, match="not running"):
        handed.finish(first.id)
    handed.begin()
    second = handed.add(Numbers(2), AREAS)

    for id in (second.id, second.id + 1, 0):
        with pytest.raises(WireError, match="not running"):
            handed.finish(id)
    assert handed.running


def test_the_process_ends_with_the_batch_that_runs_and_gives_back_the_one_that_waits():
    handed, running, waiting = Handed(), Numbers(1), Numbers(2)
    handed.add(running, AREAS)
    handed.begin()
    handed.add(waiting, AREAS)

    assert (handed.take_back(), handed.lose()) == (waiting, running)
    assert (handed.take_back(), handed.lose()) == (None, None)


def test_what_was_no_answer_leaves_its_batch_running():
    handed, batch = Handed(), Numbers(1)
    run = handed.add(batch, AREAS)
    handed.begin()

    handed.resume(handed.finish(run.id))

    assert handed.lose() is batch
