"""The two examples without requirements, in the platform's own interpreter."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minion.model import Batch, LoadContext, Model

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str, class_name: str, options: dict[str, object], monkeypatch) -> Model:
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    sys.modules.pop(name, None)
    model = getattr(__import__(name), class_name)()
    model.load(LoadContext(EXAMPLES / name, "cpu", 1, 8, options))
    return model


def batch_of(n: int, length: int = 1) -> Batch:
    rows = np.arange(n * length, dtype=np.float32).reshape(n, length)
    return Batch({"x": rows}, [{} for _ in range(n)])


def test_noop_answers_each_example_with_the_length_of_its_input(monkeypatch):
    model = load("noop", "Noop", {}, monkeypatch)

    answers = model.predict(batch_of(3, length=5))

    assert answers == [{"n": 5}] * 3


@pytest.mark.parametrize(("n", "seconds"), [(1, 0.005), (2, 0.008), (8, 0.026)])
def test_simulated_takes_two_tenths_and_three_tenths_per_example_on_the_real_clock(
    n, seconds, monkeypatch
):
    model = load("simulated", "Simulated", {"scale": 0.01}, monkeypatch)
    began = time.monotonic()

    answers = model.predict(batch_of(n))

    assert time.monotonic() - began >= seconds - 1e-4
    assert [answer["seconds"] for answer in answers] == pytest.approx([seconds] * n)
    assert {answer["batch_size"] for answer in answers} == {n}


def test_simulated_gives_every_example_its_own_number_back(monkeypatch):
    model = load("simulated", "Simulated", {"scale": 0.0}, monkeypatch)

    answers = model.predict(batch_of(4))

    assert [answer["x"] for answer in answers] == [0.0, 1.0, 2.0, 3.0]
    assert {answer["pid"] for answer in answers} == {os.getpid()}


@pytest.mark.parametrize("scale", ["fast", -1.0, True, float("nan")])
def test_simulated_refuses_a_scale_that_is_no_duration(scale, monkeypatch):
    with pytest.raises(ValueError, match="option scale"):
        load("simulated", "Simulated", {"scale": scale}, monkeypatch)


def test_simulated_is_unscaled_unless_told_otherwise(monkeypatch):
    model = load("simulated", "Simulated", {}, monkeypatch)

    assert model.scale == 1.0
