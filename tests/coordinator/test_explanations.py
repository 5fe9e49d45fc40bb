"""What a record says: where the time went, how an answer came about, why there was none."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.cache import Entry
from coordinator.errors import DeadlineExceeded, ModelError
from coordinator.explanations import CANCELLED, document, part_of
from coordinator.merge import Cached, Outcome, Shared
from coordinator.records import Part, Photo, Record
from coordinator.ticket import Prediction
from wire.answers import Answer
from wire.examples import Result
from wire.reasons import Reason

PREDICTION = Prediction(
    Result(1, Answer(b"", []), 4, 0.010, 0.200, Reason.WINDOW), None, "tagger-0", 0.005
)
WALL = 1_700_000_000.0


def explained(
    *,
    part: Part | None = None,
    photos: list[Photo] | None = None,
    status: int = 200,
    code: str = "ok",
    asked: float = 100.05,
    ended: float = 101.0,
    problem: bytes = b"",
    decode: float = 0.0,
) -> dict[str, Any]:
    """A request whose head came at 100 s, a minute ago."""
    record = Record(
        *("id", "/models/{name}/infer", "tagger", status, code, 100.0, asked, ended),
        *(part, photos or (), problem, None, decode),
    )
    return document(record, now=160.0, wall=WALL)


def test_an_answer_says_in_which_batch_where_and_why_that_left() -> None:
    found = explained(part=part_of("tagger", "1.0.0", PREDICTION), ended=100.270)

    assert found["ending"] == "answered"
    assert found["at"] == "2023-11-14T22:12:20+00:00"
    assert found["total_ms"] == 270.0
    assert found["phases_ms"] == {
        "read": 50.0, "queue": 10.0, "predict": 200.0, "link": 5.0, "other": 5.0,
    }  # fmt: skip
    assert found["models"] == [
        {
            "model": "tagger",
            "version": "1.0.0",
            "source": "computed",
            "replica": "tagger-0",
            "batch_size": 4,
            "left": "window-closed",
            "phases_ms": {"queue": 10.0, "predict": 200.0, "link": 5.0},
        }
    ]


def test_a_photos_answer_says_how_long_its_pixels_were_waited_for() -> None:
    found = explained(part=part_of("tagger", "1.0.0", PREDICTION, 0.030), ended=100.3)

    assert list(found["phases_ms"]) == ["read", "decode", "queue", "predict", "link", "other"]
    assert found["phases_ms"]["decode"] == 30.0
    assert sum(found["phases_ms"].values()) == pytest.approx(found["total_ms"])


@pytest.mark.parametrize(
    ("outcome", "source", "phase", "left"),
    [
        pytest.param(
            Cached(Entry(Answer(b"", []), 2, "tagger-1", None), None, 0.2),
            "cached", "cache", None, id="remembered",
        ),
        pytest.param(Shared(PREDICTION, 0.2), "shared", "shared", "window-closed", id="shared"),
    ],
)  # fmt: skip
def test_an_answer_that_was_not_computed_for_this_says_so(
    outcome: Outcome, source: str, phase: str, left: str | None
) -> None:
    found = explained(part=part_of("tagger", "1.0.0", outcome), ended=100.3)

    assert found["models"][0]["source"] == source
    assert found["models"][0].get("left") == left
    assert found["phases_ms"] == {"read": 50.0, phase: 200.0, "other": 50.0}


def test_of_several_photos_the_one_that_took_longest_makes_the_phases() -> None:
    late, failed = DeadlineExceeded(), ModelError()
    quick = Photo("a.png", 0.01, 0.1, [part_of("tagger", "1.0.0", PREDICTION)])
    slow = Photo(
        None, 0.02, 0.9, [part_of("tagger", "1.0.0", late), part_of("lamp", "2.0.0", failed)],
    )  # fmt: skip
    found = explained(photos=[quick, slow])

    assert found["phases_ms"] == {"read": 50.0, "decode": 20.0, "models": 880.0, "other": 50.0}
    sources = [[part["source"] for part in image["models"]] for image in found["images"]]
    assert sources == [["computed"], ["pending", "model-error"]]


@pytest.mark.parametrize(("status", "code"), [(0, CANCELLED), (500, "internal-error")])
def test_where_not_all_photos_came_to_something_it_was_waited_for(status: int, code: str) -> None:
    one = Photo("a.png", 0.01, 0.1, [part_of("tagger", "1.0.0", PREDICTION)])
    found = explained(photos=[one], status=status, code=code)

    assert found["phases_ms"] == {"read": 50.0, "wait": 950.0}
    assert [image["name"] for image in found["images"]] == ["a.png"]


def test_a_refusal_shows_its_document_and_where_the_time_went_until_then() -> None:
    found = explained(status=504, code="deadline-exceeded", problem=b'{"detail": "too late"}')

    assert found["ending"] == "failed"
    assert found["problem"] == {"detail": "too late"}
    assert found["phases_ms"] == {"read": 50.0, "wait": 950.0}


def test_a_refusal_by_the_image_tier_shows_how_long_that_took() -> None:
    found = explained(status=422, code="image-damaged", decode=0.900)

    assert found["phases_ms"] == {"read": 50.0, "decode": 900.0, "wait": 50.0}


def test_what_was_never_there_as_a_whole_was_only_read() -> None:
    found = explained(status=0, code="cancelled", asked=0.0)

    assert found["ending"] == "cancelled"
    assert found["status"] is None
    assert found["phases_ms"] == {"read": 1000.0}
