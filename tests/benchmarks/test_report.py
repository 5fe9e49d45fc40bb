from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.measure import Figures
from benchmarks.peers.report import BEGIN, END, replaced, report
from benchmarks.peers.results import Entry, Outcome, merge, read

TITLES = {"w1": "W1"}
SERVERS = {"aiohttp": "floor 3", "mosec": "mosec 9", "demitasse": "ours 1", "offline": "loop"}


def entry(server: str, **more: Any) -> Entry:
    facts = {
        "item": "w1", "workers": 1, "lent": "nothing", "run": "1", "machine": "2 cores",
        "client": "wrk", "load_average": 1.0, "rounds": 3, "seconds": 4.0,
    }  # fmt: skip
    return Entry(**{**facts, "server": server, **more})


def at(cpu: float, rate: float = 1000.0, failed: float = 0) -> dict[str, Figures]:
    return {"64": Figures(rate, cpu, 2.0, 3.0, failed)}


def rows(entries: list[Entry]) -> list[list[str]]:
    """The cells of the lines below each table's head."""
    lines = report(entries, TITLES, SERVERS).splitlines()
    body = [line for line in lines if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in body if "---" not in line][1:]


def test_cpu_stands_beside_the_floors_of_the_same_connections() -> None:
    found = rows([entry("aiohttp", cells=at(0.02)), entry("mosec", cells=at(0.03))])

    assert [row[2] for row in found] == ["0.02 (1.0 x)", "0.03 (1.5 x)"]


def test_a_floor_of_another_run_is_no_measure() -> None:
    found = rows([entry("aiohttp", cells=at(0.02), run="2"), entry("mosec", cells=at(0.03))])

    assert [row[2] for row in found] == ["0.02 (1.0 x)", "0.03"]


def test_who_answers_most_stands_first() -> None:
    found = rows([entry("aiohttp", cells=at(1, rate=10)), entry("mosec", cells=at(1, rate=20))])

    assert [row[0] for row in found] == ["mosec 9", "floor 3"]


def test_failures_are_shown() -> None:
    assert rows([entry("mosec", cells=at(1, failed=7))])[0][1] == "1,000 (2, 7 failed)"


def test_who_could_not_be_started_is_named_with_the_reason() -> None:
    text = report([entry("mosec", cannot_start="java is missing\nmore")], TITLES, SERVERS)

    assert "mosec 9 could not be started: java is missing\n" in text


@pytest.mark.parametrize(
    ("server", "lent", "name"),
    [
        ("mosec", "nothing", "mosec 9"),
        ("mosec", "decoder", "mosec 9, our decoder"),
        ("mosec", "compiled", "mosec 9, our decoder, compiled"),
        ("demitasse", "decoder", "ours 1"),
        ("demitasse", "compiled", "ours 1, compiled"),
    ],
)
def test_what_was_lent_is_named(server: str, lent: str, name: str) -> None:
    assert rows([entry(server, lent=lent, cells=at(1))])[0][0] == name


def test_overload_shows_goodput_and_what_most_others_were_told() -> None:
    refused = Outcome(400.0, 90.0, {"200": 90, "429": 300, "late": 10})
    found = rows([entry("mosec", cells=at(1), overload={"2": refused})])

    assert found[0][1:3] == ["1,000", "90.0 (429)"]


def test_tables_take_the_place_of_the_old_ones() -> None:
    assert replaced(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n{END}\nb"


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="begin"):
        replaced("no marks", "new")


def test_a_new_entry_takes_the_place_of_the_old_one_of_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    merge(file, [entry("mosec", cells=at(1)), entry("aiohttp", cells=at(2))])

    merge(file, [entry("mosec", cells=at(3))])

    assert {each.server: each.cells["64"].cpu for each in read(file)} == {"mosec": 3, "aiohttp": 2}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = entry("mosec", cells=at(1), overload={"2": Outcome(1.0, 1.0, {"200": 1})})

    merge(tmp_path / "peers.json", [written])

    assert read(tmp_path / "peers.json") == [written]
