"""A worker's half of the conversation, without its socket."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from minion.model import Batch, InvalidInput, Model
from minion.worker.session import Session, zeros
from wire.answers import MAX_ANSWER_BYTES, Answer, unpack_answer
from wire.area import Area
from wire.batches import BatchFailure, BatchResult, Invalid, Run
from wire.frames import MAX_BODY_BYTES, FrameReader
from wire.tensor import Tensor


class Says(Model):
    """Answers what it was told to, whatever it is asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers

    def predict(self, batch: Batch) -> Any:
        return list(self.answers)


class Unreadable(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("lazy, and broken")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def run(
    model: Model,
    *values: float,
    room: int = 4096,
    outputs: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> BatchResult | BatchFailure:
    incoming = Area(memoryview(bytearray(4096)))
    ref = incoming.stack([Tensor.from_array(np.array([value])) for value in values])
    assert ref is not None
    ticks = iter([1.0, 1.25])
    session = Session(
        model,
        incoming=incoming,
        outgoing=[Area(memoryview(bytearray(room)))],
        outputs=outputs,
        clock=lambda: next(ticks),
    )
    return session.run(Run(5, len(values), {"x": ref}, []))


def entries(*answers: Any) -> list[Any]:
    result = run(Says(*answers), *range(len(answers)))
    assert isinstance(result, BatchResult)
    b"".join(result.encode())  # whatever it holds, it can be sent
    return [
        entry if isinstance(entry, Invalid) else unpack_answer(Answer(entry.packed, []))
        for entry in result.answers
    ]


def test_answers_come_in_order_with_the_time_they_took() -> None:
    result = run(Says({"a": 1}, {"a": 2}), 1, 2)

    assert isinstance(result, BatchResult)
    assert (result.id, result.seconds) == (5, 0.25)
    assert entries({"a": 1}, {"a": 2}) == [{"a": 1}, {"a": 2}]


def test_an_answer_that_cannot_travel_costs_its_own_example() -> None:
    nan, good = entries({"a": [float("nan")]}, {"a": 1})

    assert nan == Invalid("invalid-output", "a[0] is nan, which JSON cannot carry", False)
    assert good == {"a": 1}


@pytest.mark.parametrize("answer", [dict, Unreadable(), InvalidInput.__new__(InvalidInput)])
def test_an_answer_that_raises_when_read_costs_its_own_example(answer: Any) -> None:
    bad, good = entries(answer, {"a": 1})

    assert (bad.code, bad.invalid_input) == ("invalid-output", False)
    assert good == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"a": "x" * MAX_ANSWER_BYTES},
        {"a": np.zeros(MAX_BODY_BYTES, np.uint8)},  # never touched
        {"a": np.zeros((1,) * 9)},
    ],
    ids=["text", "arrays", "dimensions"],
)
def test_an_answer_that_is_too_large_costs_its_own_example(answer: Any) -> None:
    bad, good = entries(answer, {"a": 1})

    assert (bad.code, bad.invalid_input) == ("invalid-output", False)
    assert "at most" in bad.detail
    assert good == {"a": 1}


def test_answers_that_are_too_large_together_leave_a_frame_that_can_be_read() -> None:
    result = run(Says(*[{"a": "x" * 15 * 2**20}] * 5, {"a": 1}), *range(6))

    [frame] = FrameReader().feed(b"".join(result.encode()))
    read = BatchResult.decode(frame)
    assert [isinstance(entry, Invalid) for entry in read.answers] == [False] * 3 + [True] * 2 + [
        False
    ]


def test_arrays_that_are_too_large_together_cost_the_last_of_them() -> None:
    large = {"a": np.zeros(MAX_BODY_BYTES * 2 // 3, np.uint8)}

    result = run(Says(large, large, {"a": 1}), 1, 2, 3)

    assert isinstance(result, BatchResult)
    assert [isinstance(entry, Invalid) for entry in result.answers] == [False, True, False]
    assert sum(map(len, result.body)) <= MAX_BODY_BYTES


def test_a_reason_without_end_is_cut() -> None:
    [invalid] = entries(InvalidInput(0, "x" * 10**6, code="unlucky"))

    assert len(invalid.detail) == 1000


@pytest.mark.parametrize("answer", [None, 1, "text", [1]])
def test_an_answer_that_is_no_mapping_is_named(answer: Any) -> None:
    bad, _ = entries(answer, {"a": 1})

    assert "expected a mapping" in bad.detail


@pytest.mark.parametrize(
    ("reason", "told"), [("blurred", "blurred"), (5, "5"), ("\ud800", "?"), (None, "None")]
)
def test_an_invalid_input_may_be_returned_with_any_reason(reason: Any, told: str) -> None:
    invalid, good = entries(InvalidInput(0, reason, code="unlucky"), {"a": 1})

    assert invalid == Invalid("unlucky", told, True)
    assert good == {"a": 1}


class Picky(Model):
    """Raises for the first 13 it sees."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, batch: Batch) -> Any:
        self.sizes.append(batch.size)
        for index, (x,) in enumerate(batch["x"]):
            if x == 13:
                raise InvalidInput(index, "unlucky")
        return [{"x": float(x)} for (x,) in batch["x"]]


@pytest.mark.parametrize(
    ("values", "sizes"),
    [((1, 13, 3), [3, 2]), ((13, 2, 13), [3, 2, 1]), ((13, 13), [2, 1]), ((1, 2), [2])],
    ids=["one", "first and last", "all", "none"],
)
def test_whoever_is_called_invalid_is_left_out(values: tuple[int, ...], sizes: list[int]) -> None:
    model = Picky()

    result = run(model, *values)

    assert isinstance(result, BatchResult)
    assert [isinstance(entry, Invalid) for entry in result.answers] == [x == 13 for x in values]
    assert [
        unpack_answer(Answer(entry.packed, []))["x"]
        for entry in result.answers
        if not isinstance(entry, Invalid)
    ] == [x for x in values if x != 13]
    assert model.sizes == sizes


class Blames(Model):
    def predict(self, batch: Batch) -> Any:
        raise InvalidInput(7, "somebody who is not here")


@pytest.mark.parametrize(
    "model",
    [Blames(), Model()],
    ids=["blames nobody", "no predict"],
)
def test_what_is_not_explained_fails_as_a_batch(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(model, 1, 2)

    assert result == BatchFailure(5, "model-error", "the model raised an exception")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3], ids=["too few", "too many"])
def test_a_wrong_number_of_answers_fails_as_a_batch(count: int) -> None:
    result = run(Says(*[{"a": 1}] * count), 1, 2)

    assert result == BatchFailure(5, "invalid-output", f"{count} answers for a batch of 2")


class Hungry(Model):
    """Says of which exceptions it was asked, and what was left of its arrays then."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.left: Any = None

    def predict(self, batch: Batch) -> Any:
        large = np.zeros(10)
        self.large = weakref.ref(large)
        raise self.error

    def is_out_of_memory(self, error: Exception) -> bool:
        self.left = self.large()
        return super().is_out_of_memory(error)


def test_where_memory_ran_out_the_host_is_told_and_the_batchs_own_is_free_by_then() -> None:
    model = Hungry(MemoryError("no more"))

    result = run(model, 1, 2)

    assert result == BatchFailure(5, "out-of-memory", "the model ran out of memory")
    assert model.left is None


def test_what_an_answer_is_that_was_not_declared_costs_its_own_example() -> None:
    result = run(
        Says({"a": 1}, {"a": "1"}, InvalidInput(2, "no")),
        1,
        2,
        3,
        outputs={"a": {"type": "number"}},
    )

    assert isinstance(result, BatchResult)
    assert [entry for entry in result.answers if isinstance(entry, Invalid)] == [
        Invalid("invalid-output", "a is string, declared is number", False),
        Invalid("invalid-input", "no", True),
    ]


def test_arrays_lie_in_the_shared_memory_while_there_is_room() -> None:
    arrays = [np.arange(10, dtype=np.uint8), np.arange(100, dtype=np.uint8)]

    result = run(Says({"a": arrays}), 1, room=128)

    assert isinstance(result, BatchResult)
    [entry] = result.answers
    assert not isinstance(entry, Invalid)
    assert [(ref.offset, ref.inline) for ref in entry.tensors] == [(0, False), (0, True)]
    assert bytes(result.body[0]) == arrays[1].tobytes()


def test_zeros_have_the_declared_shape_and_length_one_where_it_is_free() -> None:
    batch = zeros({"image": ("uint8", (4, -1, 3))})

    assert batch.size == 1
    assert (batch["image"].shape, batch["image"].dtype) == ((1, 4, 1, 3), np.uint8)
