"""What is known of inputs that end processes, and for how long. The time is made up."""

from __future__ import annotations

import numpy as np
import pytest

from minion.host.killers import KNOWN_SECONDS, MAX_KNOWN, Killers, digest_of
from wire.errors import Code
from wire.tensor import Tensor

CRASHED = Code.WORKER_CRASHED


def tensor(*values: float, dtype: str = "float32") -> Tensor:
    return Tensor.from_array(np.array(values, dtype))


def test_what_was_convicted_is_known_for_ten_minutes() -> None:
    killers = Killers()
    killers.remember(b"a", CRASHED, now=5.0)

    assert killers.recall(b"a", now=5.0 + KNOWN_SECONDS - 1) is CRASHED
    assert killers.recall(b"b", now=6.0) is None
    assert killers.recall(b"a", now=5.0 + KNOWN_SECONDS) is None


def test_once_all_is_forgotten_nobody_computes_a_digest_any_more() -> None:
    killers = Killers()
    assert not killers
    killers.remember(b"a", CRASHED, now=0.0)
    assert killers

    killers.recall(b"b", now=KNOWN_SECONDS)

    assert not killers


def test_a_second_conviction_counts_from_then_on() -> None:
    killers = Killers()
    killers.remember(b"a", CRASHED, now=0.0)
    killers.remember(b"b", CRASHED, now=1.0)
    killers.remember(b"a", Code.PREDICT_TIMEOUT, now=2.0)

    assert killers.recall(b"a", now=KNOWN_SECONDS + 1.5) is Code.PREDICT_TIMEOUT
    assert killers.recall(b"b", now=KNOWN_SECONDS + 1.5) is None
    assert killers.latest == 2.0


def test_the_oldest_makes_room_for_the_newest() -> None:
    killers = Killers()
    for number in range(MAX_KNOWN + 1):
        killers.remember(number.to_bytes(4, "little"), CRASHED, now=0.0)

    assert len(killers) == MAX_KNOWN
    assert killers.recall((0).to_bytes(4, "little"), now=0.0) is None
    assert killers.recall((1).to_bytes(4, "little"), now=0.0) is CRASHED


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
