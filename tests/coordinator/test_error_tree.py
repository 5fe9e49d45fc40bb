"""coordinator/errors.py and wire_codes.py: codes, texts, and what comes from other processes."""

import inspect
import re
from pathlib import Path

import msgspec
import pytest

from coordinator import errors
from coordinator.errors import DemitasseError, InvalidInput
from coordinator.http.replies import refusal, status_of
from coordinator.wire_codes import from_wire
from wire.errors import Code

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DemitasseError)
]
DOCUMENTED = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_tree_in_the_docstring_names_every_class_and_its_code():
    drawn = dict(re.findall(r"─ (\w+)(?: +([a-z0-9-]+)$)?", errors.__doc__ or "", re.MULTILINE))

    assert drawn.keys() == {kind.__name__ for kind in CLASSES} - {"DemitasseError"}
    assert all(code in ("", getattr(errors, name).code) for name, code in drawn.items())


@pytest.mark.parametrize("letter", ["a", "\x01", '"', "\u20ac", "\U0001f600", "\ud800"])
def test_a_problem_is_short_and_text_whatever_was_to_be_said(letter):
    error = DemitasseError(letter * 1_000_000, field=f"inputs.{letter * 1_000_000}")

    body = refusal(error, "id").body

    assert len(body) < 5000
    problem = msgspec.json.decode(body)
    assert problem["detail"].endswith("...")
    assert problem["field"].startswith("inputs.")
    assert problem["field"].endswith("...")


def test_what_is_not_long_is_said_as_it_is():
    error = DemitasseError("d" * 500, field="f" * 200)

    assert (error.detail, error.field, str(error)) == ("d" * 500, "f" * 200, "d" * 500)


def test_codes_are_unique():
    codes = [kind.code for kind in CLASSES]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_default_text_is_the_first_line_of_the_docstring(kind):
    assert kind().detail == (kind.__doc__ or "").partition("\n")[0]
    assert str(kind("this time")) == "this time"


@pytest.mark.parametrize("code", Code)
def test_every_code_of_the_wire_has_an_error_of_its_own(code):
    error = from_wire(code.value, "text", 2.5)

    assert not isinstance(error, errors.Internal)
    assert error.retry_after == 2.5
    assert error.detail == "text"


@pytest.mark.parametrize("code", ["image-damaged", "image-too-large"])
def test_the_image_tiers_codes_are_the_callers_fault(code):
    error = from_wire(code, "cut off")

    assert isinstance(error, InvalidInput)
    assert error.code == code
    assert status_of(error) == 422


def test_a_models_own_word_for_bad_input_is_kept():
    assert from_wire("too-dark", "nothing to see", invalid_input=True).code == "too-dark"


@pytest.mark.parametrize("code", sorted(errors.CODES))
def test_a_model_that_calls_its_input_invalid_does_not_speak_for_the_platform(code):
    error = from_wire(code, "nothing to see", invalid_input=True)

    assert (error.code, status_of(error), error.retryable) == ("invalid-input", 422, False)


def test_an_unknown_code_is_our_fault_and_its_text_stays_inside():
    error = from_wire("surprise", "/secret/path")

    assert isinstance(error, errors.Internal)
    assert "secret" not in error.detail


def test_the_page_lists_every_code_with_its_status_and_whether_to_retry():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\d{3}) \| (yes|no) \|", DOCUMENTED.read_text(), re.M)
    leaves = [kind for kind in CLASSES if not kind.__subclasses__() or kind in _RAISED_PARENTS]

    assert sorted(rows) == sorted(
        (kind.code, str(status_of(kind())), "yes" if kind.retryable else "no") for kind in leaves
    )


_RAISED_PARENTS = {errors.InvalidInput, errors.PayloadTooLarge, errors.BadRequest}
