"""What is known of inputs that end processes, and for how long. The time is made up."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from minion.host.killers import KNOWN_SECONDS, KNOWN_SHORTLY_SECONDS, MAX_KNOWN, Killers, digest_of
from wire.errors import Code
from wire.tensor import Tensor

CRASHED = Code.WORKER_CRASHED


def tensor(*values: float, dtype: str = "float32") -> Tensor:
    return Tensor.from_array(np.array(values, dtype))


def remember(killers: Killers, number: float, now: float, code: Code = CRASHED) -> None:
    killers.remember({"x": tensor(number)}, {}, code, now)


def recall(killers: Killers, number: float, now: float) -> Code | None:
    return killers.recall({"x": tensor(number)}, {}, now)


def test_what_was_convicted_is_known_for_ten_minutes() -> None:
    killers = Killers()
    remember(killers, 1, now=5.0)

    assert recall(killers, 1, now=5.0 + KNOWN_SECONDS - 1) is CRASHED
    assert recall(killers, 2, now=6.0) is None
    assert recall(killers, 1, now=5.0 + KNOWN_SECONDS) is None


def test_who_ran_out_of_memory_is_known_for_a_minute_only() -> None:
    """Of which others may have had more than they have then."""
    killers = Killers()
    remember(killers, 1, now=0.0)
    remember(killers, 2, now=5.0, code=Code.OUT_OF_MEMORY)

    assert recall(killers, 2, now=5.0 + KNOWN_SHORTLY_SECONDS - 1) is Code.OUT_OF_MEMORY
    assert recall(killers, 2, now=5.0 + KNOWN_SHORTLY_SECONDS) is None
    assert recall(killers, 1, now=5.0 + KNOWN_SHORTLY_SECONDS) is CRASHED


def test_once_all_is_forgotten_nobody_asks_any_more() -> None:
    killers = Killers()
    assert not killers
    remember(killers, 1, now=0.0)
    assert killers

    recall(killers, 2, now=KNOWN_SECONDS)

    assert not killers


def test_a_second_conviction_counts_from_then_on() -> None:
    killers = Killers()
    remember(killers, 1, now=0.0)
    remember(killers, 2, now=1.0)
    remember(killers, 1, now=2.0, code=Code.PREDICT_TIMEOUT)

    assert recall(killers, 1, now=KNOWN_SECONDS + 1.5) is Code.PREDICT_TIMEOUT
    assert recall(killers, 2, now=KNOWN_SECONDS + 1.5) is None
    assert killers.latest == 2.0


def test_the_oldest_makes_room_for_the_newest() -> None:
    killers = Killers()
    for number in range(MAX_KNOWN + 1):
        remember(killers, number, now=0.0)

    assert len(killers) == MAX_KNOWN
    assert recall(killers, 0, now=0.0) is None
    assert recall(killers, 1, now=0.0) is CRASHED


def test_of_an_input_whose_size_nobody_had_who_was_convicted_nothing_is_read() -> None:
    killers = Killers()
    remember(killers, 1, now=0.0)
    unreadable = Tensor("float32", (2,), cast(bytes, range(8)))  # its length is all it has

    assert killers.recall({"x": unreadable}, {}, now=1.0) is None
    with pytest.raises(TypeError):
        killers.recall({"x": Tensor("float32", (1,), cast(bytes, range(4)))}, {}, now=1.0)


def test_the_order_of_inputs_and_parameters_makes_no_difference() -> None:
    a, b = tensor(1), tensor(2)

    first = digest_of({"a": a, "b": b}, {"k": 1, "l": {"m": 1, "n": 2}})

    assert digest_of({"b": b, "a": a}, {"l": {"n": 2, "m": 1}, "k": 1}) == first


@pytest.mark.parametrize(
    ("inputs", "parameters"),
    [
        ({"a": tensor(1, 3)}, {}),
        ({"b": tensor(1, 2)}, {}),
        ({"a": tensor(1, 2)}, {"k": 1}),
        ({"a": tensor(1, 2, dtype="float64")}, {}),
        ({"a": Tensor("float32", (2, 1), tensor(1, 2).data)}, {}),
        ({"a": tensor(1, 2), "b": tensor()}, {}),
    ],
    ids=["values", "name", "parameters", "dtype", "shape", "one more"],
)
def test_whatever_is_different_makes_another(
    inputs: dict[str, Tensor], parameters: dict[str, object]
) -> None:
    assert digest_of(inputs, parameters) != digest_of({"a": tensor(1, 2)}, {})
