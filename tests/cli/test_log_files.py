"""Which log files a name means, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from demitasse.cli.failures import CommandError
from demitasse.cli.logs import LogReader, find_logs, readable

FILES = ("caption-1.0.0-0", "caption-1.1.0-0", "caption-frozen-1.0.0-0", "coordinator-0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / f"{name}.log").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "files"),
    [
        pytest.param("caption", ["caption-1.0.0-0", "caption-1.1.0-0"], id="a model"),
        pytest.param("caption@1.1.0", ["caption-1.1.0-0"], id="a version"),
        pytest.param("coordinator", ["coordinator-0"], id="a process"),
        pytest.param("caption-frozen-1.0.0-0", ["caption-frozen-1.0.0-0"], id="a file"),
    ],
)
def test_a_name_means(folder: Path, name: str, files: list[str]) -> None:
    assert [file.stem for file in find_logs(folder, name)] == files


def test_an_unknown_name_lists_what_there_is(folder: Path) -> None:
    with pytest.raises(CommandError, match=r"coordinator-0"):
        find_logs(folder, "tagger")


def test_the_last_lines_come_first_and_then_what_is_added(tmp_path: Path) -> None:
    log = tmp_path / "noop-1.0.0-0.log"
    log.write_text("a\nb\nc\n")
    with LogReader(log) as reader:
        last = list(reader.last(2))
        with log.open("a") as file:
            file.write("d\n")

        assert last == ["b\n", "c\n"]
        assert list(reader.more()) == ["d\n"]


def test_a_log_that_was_begun_anew_is_followed(tmp_path: Path) -> None:
    log = tmp_path / "noop-1.0.0-0.log"
    log.write_text("old\n")
    with LogReader(log) as reader:
        list(reader.last(1))
        log.rename(tmp_path / "noop-1.0.0-0.log.1")
        log.write_text("new\n")

        assert list(reader.more()) == ["new\n"]


def test_a_log_that_was_emptied_is_followed_from_its_new_beginning(tmp_path: Path) -> None:
    log = tmp_path / "noop-1.0.0-0.log"
    log.write_text("of old, and long\n")
    with LogReader(log) as reader:
        list(reader.last(1))
        log.write_text("new\n")

        assert list(reader.more()) == ["new\n"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a model said this\n", "a model said this"),
        ("no end", "no end"),
        ("\x1b[2Jgone\n", "\\x1b[2Jgone"),
        ('{"time": "t", "level": "info", "logger": "l", "message": "m"}\n', "t info l m"),
        (
            '{"time": "t", "level": "info", "logger": "l", "message": "a\\nb\\u001b", "n": 3}',
            "t info l a\\nb\\x1b n=3",
        ),
        (
            '{"time": "t", "level": "error", "logger": "l", "message": "m", "error": "x\\n  y"}',
            "t error l m\nx\n  y",
        ),
        ('{"message": "a model said this"}\n', '{"message": "a model said this"}'),
        ("[1]\n", "[1]"),
        ("5\n", "5"),
    ],
)
def test_lines_are_shown_as_people_read_them(line: str, shown: str) -> None:
    assert readable(line) == shown
