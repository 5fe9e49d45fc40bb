from dataclasses import replace

import pytest
from sqlalchemy import Engine

from model_registry.catalog import Catalog
from model_registry.leases import FORGOTTEN_AFTER_SECONDS, Leases, Replica

ONE = Replica("echo-1.0.0-0", "echo", "1.0.0", "unix:/run/echo.sock", epoch=1, pid=101)
TWO = Replica("echo-1.0.0-1", "echo", "1.0.0", "tcp:10.0.0.2:9000", epoch=1, pid=102)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(engine: Engine, clock: Clock) -> Leases:
    return Leases(engine, clock=clock)


def test_a_replica_is_alive_until_its_lease_ends(leases: Leases, clock: Clock):
    leases.put(ONE, ttl=5)

    clock.now += 4.9
    assert leases.alive() == [ONE]
    clock.now += 0.1
    assert leases.alive() == []


def test_a_renewed_lease_lasts_longer(leases: Leases, clock: Clock):
    leases.put(ONE, ttl=5)
    clock.now += 4

    assert leases.renew([ONE.id], ttl=5) == frozenset()

    clock.now += 4
    assert leases.alive() == [ONE]


def test_a_lease_that_ended_is_not_renewed_and_its_holder_is_told(leases: Leases, clock: Clock):
    leases.put(ONE, ttl=5)
    leases.put(TWO, ttl=10)
    clock.now += 5

    assert leases.renew([ONE.id, TWO.id, "never-put"], ttl=5) == {ONE.id, "never-put"}
    assert leases.alive() == [TWO]


def test_a_lease_that_lapsed_is_told_of_until_it_is_dropped(leases: Leases, clock: Clock):
    leases.put(ONE, ttl=5)
    clock.now += 5
    leases.put(TWO, ttl=5)

    assert leases.listed() == ([TWO], [ONE])
    leases.drop([ONE.id])
    assert leases.listed() == ([TWO], [])


def test_a_lease_that_lapsed_long_ago_is_forgotten(leases: Leases, clock: Clock):
    leases.put(ONE, ttl=5)
    clock.now += 5 + FORGOTTEN_AFTER_SECONDS
    leases.put(TWO, ttl=5)

    assert leases.listed() == ([TWO], [])


def test_a_replica_that_starts_again_takes_the_place_of_the_one_before(leases: Leases):
    leases.put(ONE, ttl=5)
    again = replace(ONE, epoch=2, pid=201)

    leases.put(again, ttl=5)

    assert leases.alive() == [again]


def test_a_dropped_replica_is_gone_at_once(leases: Leases):
    leases.put(ONE, ttl=5)
    leases.put(TWO, ttl=5)

    leases.drop([ONE.id])

    assert leases.alive() == [TWO]


def test_coming_and_going_is_a_change_and_renewing_is_none(leases: Leases, catalog: Catalog):
    revisions = [catalog.snapshot().revision]
    leases.put(ONE, ttl=5)
    revisions.append(catalog.snapshot().revision)
    leases.renew([ONE.id], ttl=5)
    revisions.append(catalog.snapshot().revision)
    leases.drop([ONE.id])
    revisions.append(catalog.snapshot().revision)

    assert revisions == [0, 1, 1, 2]
