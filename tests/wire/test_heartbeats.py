"""Who speaks when, and when somebody is gone: looks at a link, without a clock."""

from __future__ import annotations

import pytest

from wire.heartbeats import HEARTBEAT_SECONDS, SILENT_LOOKS, Look, Pulse

NOTICED_SECONDS = 3.0


def looks(pulse: Pulse, count: int, unsent_bytes: int = 0) -> list[Look]:
    return [pulse.look(unsent_bytes) for _ in range(count)]


def test_a_silent_link_is_given_up_after_so_many_looks_and_not_before() -> None:
    pulse = Pulse()

    assert looks(pulse, SILENT_LOOKS) == [Look.SPEAK] * (SILENT_LOOKS - 1) + [Look.SILENT]


def test_whatever_is_heard_begins_the_count_anew() -> None:
    pulse = Pulse()
    looks(pulse, SILENT_LOOKS - 1)

    pulse.heard = True

    assert Look.SILENT not in looks(pulse, SILENT_LOOKS)
    assert pulse.look(0) is Look.SILENT


def test_who_has_spoken_need_not_say_so() -> None:
    pulse = Pulse()

    pulse.said = True

    assert looks(pulse, 2) == [Look.FINE, Look.SPEAK]


def test_what_leaves_is_a_sign_of_life_and_what_only_waits_is_none() -> None:
    leaving, stuck = Pulse(), Pulse()

    left = [leaving.look(1000 - 10 * look) for look in range(3 * SILENT_LOOKS)]

    assert Look.SILENT not in left
    assert looks(stuck, SILENT_LOOKS, unsent_bytes=1000)[-1] is Look.SILENT


def test_what_leaves_is_a_sign_of_life_however_much_more_there_is_to_send() -> None:
    """On a slow line, answers are made faster than they are read."""
    pulse, unsent = Pulse(), 1000
    pulse.look(unsent)

    for _ in range(3 * SILENT_LOOKS):
        pulse.queued += 500
        unsent += 500 - 10

        assert pulse.look(unsent) is not Look.SILENT


def test_what_goes_into_the_buffer_and_stays_is_no_sign_of_life() -> None:
    pulse = Pulse()
    last = Look.FINE

    for look in range(SILENT_LOOKS + 1):
        pulse.queued += 500
        last = pulse.look(500 * (look + 1))

    assert last is Look.SILENT


def test_what_the_kernel_takes_at_once_is_no_sign_of_life() -> None:
    """Its buffers have room for a while, whoever is at the other end."""
    pulse = Pulse()
    last = Look.FINE

    for _ in range(SILENT_LOOKS):
        pulse.queued += 500
        last = pulse.look(0)

    assert last is Look.SILENT


@pytest.mark.parametrize("missed", range(1, 3))
def test_whoever_looks_late_has_missed_one_look_however_late_it_is(missed: int) -> None:
    """A process that was stopped sees its timer before it has read what came meanwhile."""
    pulse = Pulse()
    pulse.heard = True
    pulse.look(0)

    for _ in range(missed):
        assert pulse.look(0) is not Look.SILENT


def test_two_who_have_nothing_to_say_keep_each_other_alive() -> None:
    one, other = Pulse(), Pulse()
    for _ in range(10 * SILENT_LOOKS):
        for speaker, listener in ((one, other), (other, one)):
            look = speaker.look(0)
            assert look is not Look.SILENT
            speaker.said = listener.heard = look is Look.SPEAK


def test_it_is_noticed_in_time_and_not_in_haste() -> None:
    longest = (SILENT_LOOKS + 1) * HEARTBEAT_SECONDS
    between_heartbeats = 2 * HEARTBEAT_SECONDS

    assert longest < NOTICED_SECONDS
    assert between_heartbeats + 1.5 < SILENT_LOOKS * HEARTBEAT_SECONDS
