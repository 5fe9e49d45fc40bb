"""What is said about processes as they change."""

from __future__ import annotations

import pytest

from demitasse.cli.console import show
from demitasse.cli.processes import Narrator, last_words, process_table
from deploy.status import ProcessInfo


def minion(state: str, model: str = "tagger", detail: str = "") -> ProcessInfo:
    return ProcessInfo("minion", model, "1.0.0", 7, None, state, detail)


def decoder(state: str = "ready") -> ProcessInfo:
    return ProcessInfo("decoder", "decoder", "1.0.0", 5, None, state, "")


def test_a_new_state_is_one_line() -> None:
    narrator = Narrator()
    narrator.changes([minion("starting")])

    assert [change.line for change in narrator.changes([minion("ready")])] == [
        "tagger 1.0.0: ready (pid 7)"
    ]


def test_the_same_state_with_other_details_is_no_news() -> None:
    narrator = Narrator()
    narrator.changes([minion("building", detail="torch")])

    assert narrator.changes([minion("building", detail="numpy")]) == []


def test_a_failure_comes_with_its_details_and_is_marked() -> None:
    [change] = Narrator().changes([minion("failed", detail="no Python 3.6 here")])

    assert change.bad
    assert change.line.endswith("no Python 3.6 here")


def test_a_minion_that_went_is_said_once() -> None:
    narrator = Narrator()
    narrator.changes([minion("ready")])

    assert [change.line for change in narrator.changes([])] == ["tagger 1.0.0: gone"]
    assert narrator.changes([]) == []


def coordinator(state: str, pid: int | None) -> ProcessInfo:
    return ProcessInfo("coordinator", None, None, pid, None, state, "")


def test_coordinators_that_take_the_place_of_others_are_told_apart() -> None:
    narrator = Narrator()
    looks = [
        [coordinator("starting", None)],
        [coordinator("running", 1)],
        [coordinator("running", 1), coordinator("starting", None)],
        [coordinator("running", 2), coordinator("draining", 1)],
        [coordinator("running", 2)],
    ]

    said = [change.line for look in looks for change in narrator.changes(look)]

    assert said == [
        "coordinator: starting",
        "coordinator 1: running",
        "coordinator: starting",
        "coordinator 2: running",
        "coordinator 1: draining",
        "coordinator 1: gone",
    ]


def test_workers_are_not_narrated() -> None:
    worker = ProcessInfo("worker", "tagger", "1.0.0", 8, None, "busy", "")

    assert Narrator().changes([worker]) == []


def test_the_summary_waits_until_nothing_is_under_way() -> None:
    narrator = Narrator()

    assert narrator.summary([decoder(), minion("loading")]) is None
    assert narrator.summary([decoder(), minion("ready")]) == "ready: 1 model"


def test_a_summary_is_said_once() -> None:
    narrator = Narrator()
    narrator.summary([decoder(), minion("ready")])

    assert narrator.summary([decoder(), minion("ready")]) is None


def test_the_summary_comes_again_after_a_crash() -> None:
    narrator = Narrator()
    narrator.summary([decoder(), minion("ready")])
    narrator.summary([decoder(), minion("restarting")])

    assert narrator.summary([decoder(), minion("ready")]) == "ready: 1 model"


def test_the_summary_names_what_is_not_ready() -> None:
    summary = Narrator().summary([decoder(), minion("ready"), minion("failed", "caption")])

    assert summary is not None
    assert "caption 1.0.0" in summary
    assert "tagger" not in summary


def test_a_platform_without_models_says_what_to_do() -> None:
    assert "demitasse publish" in (Narrator().summary([decoder()]) or "")


def test_two_versions_of_one_model_count_as_one() -> None:
    second = ProcessInfo("minion", "tagger", "1.1.0", 9, None, "ready", "")

    assert Narrator().summary([decoder(), minion("ready"), second]) == "ready: 1 model"


def test_of_a_failed_build_the_table_has_the_log_and_its_last_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detail = "installing torch failed; /home/envs/ab.log ends with:\nlooking\nno such version\n"

    show(process_table([minion("failed", detail=detail)]))

    row = capsys.readouterr().out.splitlines()[1]
    assert row.endswith("torch failed; /home/envs/ab.log ends with: no such version")


def test_the_last_words_of_workers_are_shown_where_none_stays() -> None:
    failed = ProcessInfo(
        *("minion", "tagger", "1.0.0", 7, None, "failed", "no weights"), ["Traceback", "no weights"]
    )

    assert last_words([minion("ready"), failed]) == [
        "",
        "tagger 1.0.0, the last lines of its worker:",
        "  Traceback",
        "  no weights",
    ]
