"""docs/wire.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.wire.golden import MESSAGES, golden, map_of
from wire.answers import MAX_ANSWER_BYTES
from wire.errors import Code
from wire.frames import (
    MAX_BODY_BYTES,
    MAX_EXAMPLE_BYTES,
    MAX_HEAD_BYTES,
    PROTOCOL_VERSION,
    UPGRADE_TOKEN,
    FrameReader,
)
from wire.heads import Kind
from wire.parameters import MAX_PARAMETER_BYTES, MAX_PARAMETER_DEPTH
from wire.tensor import DTYPES

TEXT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```hex (\S+)\n(.*?)```", TEXT, re.DOTALL))
ROWS = {
    int(row[0]): row
    for row in re.findall(r"^\| (\d+) \| ([A-Z]\w+) \|[^|]*\|[^|]*\|([^|]*)\|", TEXT, re.M)
}


def test_there_are_worked_examples() -> None:
    assert set(EXAMPLES) == {"predict", "hello"}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_worked_example_is_the_golden_file(name: str) -> None:
    assert bytes.fromhex(EXAMPLES[name]) == golden(name)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_is_in_the_tables_with_all_its_fields(name: str) -> None:
    data = golden(name)
    [frame] = FrameReader().feed(data)
    head = map_of(frame)
    _, message, fields = ROWS[frame.kind]

    assert message == type(MESSAGES[name]).__name__
    if "as Tune" in fields:
        fields = ROWS[Kind.TUNE][2]
    assert {f"`{key}`" for key in head} <= set(re.findall(r"`\w+`", fields))


@pytest.mark.parametrize("word", [*DTYPES, *(code.value for code in Code)])
def test_a_dtype_or_code_is_named(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_limits_are_those_of_the_code() -> None:
    assert (
        f"| a coordinator, a worker | {MAX_HEAD_BYTES >> 20} MiB | {MAX_BODY_BYTES >> 30} GiB |"
        in (TEXT)
    )
    assert f"| {MAX_EXAMPLE_BYTES >> 20} MiB |" in TEXT
    assert f"`answer` takes at most {MAX_ANSWER_BYTES >> 20} MiB" in TEXT
    assert f"at most {MAX_PARAMETER_DEPTH} deep" in TEXT
    assert f"parameters take at most {MAX_PARAMETER_BYTES:,} bytes" in TEXT


def test_the_upgrade_is_named_with_the_version_that_frames_carry() -> None:
    assert f"demitasse/{PROTOCOL_VERSION}" == UPGRADE_TOKEN
    assert TEXT.count(f"Upgrade: {UPGRADE_TOKEN}\n") == 2
