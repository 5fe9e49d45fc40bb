"""wire/names.py: one place says what things may be called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wire.names import FIELD, NAME, SELECTOR

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("wire", "links", "minion", "preprocess", "envs", "storage"),
    *("model_registry", "coordinator", "deploy", "demitasse"),
)


def test_nobody_else_has_an_expression_of_its_own():
    here = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "{0,62}" in path.read_text()
    }

    assert here == {"wire/names.py"}


@pytest.mark.parametrize(
    "hostile",
    ["", "../etc", "a/b", "a\n", "a b", "A", "ä", "a" * 64, "-a", ".", "..", "a\0", "%61", "a;b"],
)
def test_what_would_need_quoting_is_no_name(hostile):
    assert not re.fullmatch(NAME, hostile)
    assert not re.fullmatch(SELECTOR, hostile)


def test_names_are_names():
    assert re.fullmatch(NAME, "tagger-2")
    assert re.fullmatch(SELECTOR, "3.1.0")
    assert re.fullmatch(FIELD, "input_1")
    assert not re.fullmatch(FIELD, "1-input")
