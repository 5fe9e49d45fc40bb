"""wire/logs.py: one JSON object per line, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from wire.logs import MAX_FACT, MAX_MESSAGE, MAX_TRACEBACK, JsonLines


def line(message: str, *arguments: Any, **more: Any) -> dict[str, Any]:
    record = logging.getLogger("kitchen").makeRecord(
        "kitchen", logging.WARNING, "file", 1, message, arguments, more.pop("exc_info", None),
        extra=more,
    )  # fmt: skip
    text = JsonLines().format(record)
    assert "\n" not in text
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_says_when_how_bad_where_and_what() -> None:
    found = line("served %d", 3)

    assert (found["level"], found["logger"], found["message"]) == ("warning", "kitchen", "served 3")
    assert found["time"].endswith("Z")


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", '"}\n{"level": "error"', "\x1b[31m", "\u2028", "\0", "\ud800", "\U0001f600", "%s %d"],
)
def test_what_a_caller_sent_stays_inside_its_text(hostile: str) -> None:
    found = line("%s", hostile, facts={"sent": hostile})

    assert (found["message"], found["sent"]) == (hostile, hostile)
    assert found["level"] == "warning"


def test_long_texts_are_cut() -> None:
    found = line("x" * 10**6, facts={"sent": "y" * 10**6})

    assert len(found["message"]) < MAX_MESSAGE + 100
    assert len(found["sent"]) < MAX_FACT + 100


def test_facts_cannot_pass_for_what_every_line_has() -> None:
    assert line("m", facts={"level": "error"})["level"] == "warning"


def test_of_a_traceback_the_end_is_kept_in_the_same_line() -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise ValueError("at the end" + "x" * MAX_TRACEBACK)

    try:
        deep(30)
    except ValueError:
        found = line("it failed", exc_info=sys.exc_info())

    assert len(found["error"]) < MAX_TRACEBACK + 100
    assert found["error"].endswith("xxx")


def test_a_wrong_number_of_arguments_does_not_lose_the_line() -> None:
    assert line("%s and %s", "one")["message"] == "%s and %s"
