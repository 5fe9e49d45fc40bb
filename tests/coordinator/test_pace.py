"""coordinator/http/pace.py, doors.py and complaints.py: plain rules; time is an argument."""

from __future__ import annotations

from coordinator.http.complaints import Ration
from coordinator.http.doors import Doors
from coordinator.http.pace import Pace


def test_who_brings_the_least_rate_keeps_the_pace() -> None:
    pace = Pace(100, 5, now=10.0)

    assert [pace.kept(10 + 5 * i, 500 * i) for i in (1, 2, 3)] == [True, True, True]


def test_who_brings_less_is_known_when_the_window_is_over_and_not_before() -> None:
    pace = Pace(100, 5, now=10.0)

    assert pace.kept(14.9, 5)
    assert not pace.kept(15.0, 499)


def test_what_came_fast_at_first_does_not_excuse_what_comes_later() -> None:
    pace = Pace(100, 5, now=0.0)

    assert pace.kept(5, 1_000_000)
    assert not pace.kept(10, 1_000_005)


def test_more_than_there_is_cannot_be_wanted() -> None:
    pace = Pace(100, 5, now=0.0)
    pace.begin(0.0, done=0, could=20)

    assert pace.kept(5, 20, 0)


def test_at_no_rate_anything_goes() -> None:
    assert Pace(0, 5, now=0.0).kept(100, 0)


def test_as_many_come_in_as_may_and_one_who_left_makes_room() -> None:
    doors = Doors(3, 2)
    assert [doors.enter(each) for each in ("a", "a", "b")] == [None, None, None]
    refusal = doors.enter("c")
    assert refusal is not None
    assert refusal.code == "too-many-connections"

    doors.leave("b")
    assert doors.enter("c") is None


def test_of_one_address_fewer_come_in_and_the_refused_are_not_counted() -> None:
    doors = Doors(10, 2)
    doors.enter("a")
    doors.enter("a")

    assert doors.enter("a") is not None
    assert doors.count == 2
    assert doors.enter("b") is None
    doors.leave("a")
    assert doors.enter("a") is None


def test_a_burst_is_logged_then_so_many_a_second_and_what_was_left_out_is_said() -> None:
    ration = Ration(burst=2, per_second=1.0, now=0.0)

    assert [ration.take(0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert ration.take(1.0) == 3
    assert ration.take(1.5) is None
    assert ration.take(2.0) == 1
