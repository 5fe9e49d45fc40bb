"""Several models' outcomes as one answer: plain values in, plain values out."""

from __future__ import annotations

import pytest

from coordinator.cache import Entry
from coordinator.errors import DeadlineExceeded, InvalidInput, ModelError, QueueFull
from coordinator.merge import (
    Cached,
    Shared,
    is_enough,
    model_entry,
    naming,
    refuse_if_nothing,
    refuse_if_required,
)
from coordinator.ticket import Prediction
from wire.answers import Answer
from wire.examples import Result

ANSWER = Prediction(
    Result(1, Answer(b"", []), 4, queue_seconds=0.0012345, predict_seconds=0.25, left=0),
    {"tags": ["cat"]},
    "tagger-1.0.0-0",
    0.0004,
)


def test_an_entry_says_what_came_out_and_how_it_came_about():
    assert model_entry("1.0.0", ANSWER) == {
        "version": "1.0.0",
        "output": {"tags": ["cat"]},
        "batch_size": 4,
        "replica": "tagger-1.0.0-0",
        "timeline_ms": {"queue": 1.234, "predict": 250.0, "link": 0.4},
    }


def test_a_failed_models_entry_is_its_error():
    error = ModelError("it fell over")

    assert model_entry("1.0.0", error) == {"version": "1.0.0", "error": error}


def test_a_model_that_was_late_is_pending():
    assert model_entry("1.0.0", DeadlineExceeded()) == {"version": "1.0.0", "pending": True}


@pytest.mark.parametrize(
    ("done", "enough"),
    [
        ({}, False),
        ({"quick": ANSWER}, False),
        ({"needed": ANSWER}, False),
        ({"quick": ANSWER, "needed": ANSWER}, True),
        ({"quick": ModelError("no"), "needed": ANSWER}, True),
        ({"needed": ModelError("no")}, True),
        ({"needed": ANSWER, "slow": ANSWER}, False),
    ],
    ids=[
        "nothing",
        "the-required-is-missing",
        "another-is-missing",
        "only-the-optional-is-missing",
        "a-failure-counts-as-done",
        "the-required-has-failed",
        "the-optional-is-no-substitute",
    ],
)
def test_an_answer_waits_for_all_but_the_optional(done, enough):
    assert is_enough(done, ["quick", "needed", "slow"], ["needed"], ["slow"]) is enough


def test_the_optional_are_waited_for_while_there_is_nothing_to_answer_with():
    asked, optional = ["a", "b", "c"], ["b", "c"]

    assert not is_enough({"a": ModelError("no")}, asked, [], optional)
    assert not is_enough({"a": ModelError("no"), "b": QueueFull("full")}, asked, [], optional)
    assert is_enough({"a": ModelError("no"), "b": ANSWER}, asked, [], optional)


def test_where_all_are_optional_the_first_answer_is_enough():
    assert not is_enough({}, ["a", "b"], [], ["a", "b"])
    assert is_enough({"b": ANSWER}, ["a", "b"], [], ["a", "b"])


def test_an_error_of_a_required_model_is_everybodys():
    with pytest.raises(ModelError) as raised:
        refuse_if_required({"a": ANSWER, "b": ModelError("no")}, ["a", "b"])

    assert raised.value.members == {"model": "b"}


def test_an_error_of_a_model_that_is_not_required_is_its_own():
    outcomes = {"a": ANSWER, "b": ModelError("no")}

    refuse_if_required(outcomes, ["a"])
    refuse_if_nothing(outcomes)

    assert model_entry("1.0.0", outcomes["b"])["error"] is outcomes["b"]
    assert "output" in model_entry("1.0.0", outcomes["a"])


def test_where_there_are_only_errors_the_first_is_raised():
    with pytest.raises(QueueFull) as raised:
        refuse_if_nothing({"a": QueueFull("full", retry_after=2.5), "b": ModelError("no")})

    assert raised.value.members == {"model": "a"}
    assert (raised.value.detail, raised.value.retry_after) == ("full", 2.5)


def test_an_error_that_several_hold_is_named_for_one_of_them_alone():
    shared = InvalidInput("no photo", code="image-damaged", members={"at": 7})

    named = naming(shared, "a")

    assert shared.members == {"at": 7}
    assert (type(named), named.code, named.detail) == (InvalidInput, "image-damaged", "no photo")
    assert named.members == {"at": 7, "model": "a"}


def test_an_answer_that_was_remembered_says_so_and_how_long_finding_it_took():
    entry = Entry(ANSWER.result.answer, 4, "tagger-1.0.0-0", None)

    assert model_entry("1.0.0", Cached(entry, {"tags": ["cat"]}, 0.0001)) == {
        "version": "1.0.0",
        "output": {"tags": ["cat"]},
        "batch_size": 4,
        "replica": "tagger-1.0.0-0",
        "cached": True,
        "timeline_ms": {"cache": 0.1},
    }


def test_an_answer_that_was_computed_for_another_says_so_and_how_long_it_was_waited_for():
    assert model_entry("1.0.0", Shared(ANSWER, 0.012)) == {
        "version": "1.0.0",
        "output": {"tags": ["cat"]},
        "batch_size": 4,
        "replica": "tagger-1.0.0-0",
        "shared": True,
        "timeline_ms": {"shared": 12.0},
    }
