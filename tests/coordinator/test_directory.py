"""What the registry says reaches routing and fleet; a registry that is away changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from stage import Stage

from coordinator.app import StoredRegistry
from coordinator.directory import Directory, Places
from coordinator.fleet import Fleet
from model_registry.settings import SettingsChange
from model_registry.snapshot import Snapshot
from tests.waiting import eventually


class Flaky:
    """The stored registry, which can be made to fail."""

    def __init__(self, stage: Stage) -> None:
        self._stored = StoredRegistry(stage.catalog, stage.leases)
        self.away = False
        self.reads = 0
        self.seen: list[Snapshot] = []

    def snapshot(self) -> Snapshot:
        self.reads += 1
        if self.away:
            raise OSError("the disk is gone")
        return self._stored.snapshot()

    def places(self) -> Places:
        return self._stored.places()


@asynccontextmanager
async def directory_of(stage: Stage):
    fleet, registry = Fleet("test"), Flaky(stage)
    directory = Directory(
        registry, fleet, on_change=registry.seen.append, poll_interval_seconds=0.01
    )
    await directory.refresh()
    try:
        yield directory, fleet, registry
    finally:
        fleet.stop()


async def test_a_refresh_brings_new_models_and_new_replicas(stage: Stage) -> None:
    async with directory_of(stage) as (directory, fleet, _):
        assert not directory.current().models

        stage.publish("gate")
        await stage.host("gate")
        snapshot = await directory.refresh()

        assert directory.current() is snapshot
        assert list(snapshot.models) == ["gate"]
        await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")


async def test_whoever_follows_the_registry_is_told_of_changes_alone(stage: Stage) -> None:
    async with directory_of(stage) as (directory, _, registry):
        await directory.refresh()
        assert [list(snapshot.models) for snapshot in registry.seen] == [[]]

        stage.publish("gate")
        snapshot = await directory.refresh()
        await directory.refresh()

        assert registry.seen[1:] == [snapshot]


async def test_the_registry_of_a_platform_that_serves_some_alone_is_read_anew_when_it_changes(
    stage: Stage,
) -> None:
    stage.publish("gate")
    stage.publish("gate", name="other")
    registry = StoredRegistry(stage.catalog, stage.leases, ["gate"])
    before = registry.snapshot()
    again = registry.snapshot()

    stage.publish("gate", version="2.0.0")
    stage.catalog.set_alias("gate", "default", "2.0.0", who="test")
    after = registry.snapshot()

    def served(snapshot: Snapshot) -> list[tuple[str, str]]:
        versions = [each for entry in snapshot.models.values() for each in entry.versions.values()]
        return [(each.model, each.version) for each in versions if each.serving]

    assert again is before
    assert served(before) == [("gate", "1.0.0")]
    assert served(after) == [("gate", "2.0.0")]


async def test_a_host_that_is_connected_has_new_settings_when_refresh_returns(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    async with directory_of(stage) as (directory, fleet, _):
        await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")

        stage.catalog.tune("gate", SettingsChange(queue_limit=3), who="test")
        await directory.refresh()

        assert (host.lane.tuning.queue_limit, host.lane.tuning.revision) == (3, 1)


async def test_a_registry_that_is_away_is_logged_once_and_asked_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    async with directory_of(stage) as (directory, _, registry):
        following = asyncio.create_task(directory.follow())
        registry.away = True
        reads = registry.reads
        await eventually(lambda: registry.reads > reads + 3, "it is asked again and again")
        assert [record.getMessage() for record in caplog.records] == [
            "the registry cannot be read; going on with what is known"
        ]
        assert list(directory.current().models) == ["gate"]

        stage.publish("picture")
        registry.away = False
        await eventually(lambda: len(directory.current().models) == 2, "it is read again")

        following.cancel()
        await asyncio.wait([following])


async def test_a_replica_that_left_the_registry_gets_no_more_work(stage: Stage) -> None:
    stage.publish("gate")
    await stage.host("gate")
    async with directory_of(stage) as (directory, fleet, _):
        await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")

        stage.leases.drop(["gate-1.0.0-0"])
        await directory.refresh()

        assert not fleet.ready("gate", "1.0.0")


async def test_a_replica_whose_lease_lapsed_stays_until_its_link_is_lost(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    async with directory_of(stage) as (directory, fleet, _):
        await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")

        stage.list(host, ttl=0)
        await directory.refresh()
        assert fleet.ready("gate", "1.0.0")

        await host.stop()
        await eventually(lambda: not fleet.ready("gate", "1.0.0"), "the link is lost")
        await directory.refresh()
        assert not fleet.all()
