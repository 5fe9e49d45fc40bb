import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packages import make_package
from sqlalchemy import Engine

from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.errors import (
    AlreadyPublished,
    InvalidAlias,
    InvalidSettings,
    UnknownAlias,
    UnknownModel,
    UnknownVersion,
    VersionInUse,
)
from model_registry.history import AliasMove, ServingMove, SettingsMove
from model_registry.manifest_table import ManifestError
from model_registry.settings import EffectiveSettings, Settings, SettingsChange

NOW = datetime.fromtimestamp(1_000_000, UTC)


@pytest.fixture
def echo(catalog: Catalog, tmp_path: Path) -> Catalog:
    """A catalog with echo 1.0.0, the default, and echo 1.1.0, which waits."""
    for version in ("1.0.0", "1.1.0"):
        catalog.publish(make_package(tmp_path, version=version), who="ada")
    return catalog


def serving(catalog: Catalog) -> list[str]:
    versions = catalog.snapshot().models["echo"].versions.values()
    return [version.version for version in versions if version.serving]


def test_the_first_version_becomes_the_default_and_is_served(catalog: Catalog, tmp_path: Path):
    publication = catalog.publish(make_package(tmp_path), who="ada")

    assert publication.created
    assert publication.version.serving
    assert publication.version.published_by == "ada"
    assert publication.version.published_at == NOW
    assert catalog.snapshot().models["echo"].aliases == {"default": "1.0.0"}


def test_a_later_version_waits_for_a_command(echo: Catalog):
    assert echo.snapshot().models["echo"].aliases == {"default": "1.0.0"}
    assert serving(echo) == ["1.0.0"]


def test_publishing_the_same_again_changes_nothing(catalog: Catalog, tmp_path: Path):
    first = catalog.publish(make_package(tmp_path), who="ada")
    before = catalog.snapshot().revision

    again = catalog.publish(make_package(tmp_path), who="bob")

    assert again.version == first.version
    assert not again.created
    assert catalog.snapshot().revision == before


def test_other_content_under_the_same_version_is_refused(catalog: Catalog, tmp_path: Path):
    catalog.publish(make_package(tmp_path), who="ada")

    with pytest.raises(AlreadyPublished, match=r"echo 1\.0\.0 .* raise the version"):
        catalog.publish(make_package(tmp_path, code="class Echo: changed = 1\n"), who="ada")

    assert len(list((tmp_path / "artifacts").iterdir())) == 1, "and is not kept"


def test_a_broken_manifest_publishes_nothing(catalog: Catalog, tmp_path: Path):
    package = make_package(tmp_path, more="[batching]\nmax_batch_size = 0\n")

    with pytest.raises(ManifestError, match="max_batch_size is 0"):
        catalog.publish(package, who="ada")

    assert catalog.snapshot().models == {}
    assert not (tmp_path / "artifacts").exists()


def test_what_is_served_is_the_copy_not_the_authors_folder(catalog: Catalog, tmp_path: Path):
    package = make_package(tmp_path, code="class Echo: ...\n")
    version = catalog.publish(package, who="ada").version

    (package / "echo.py").write_text("class Echo: changed = 1\n")

    assert (version.directory / "echo.py").read_text() == "class Echo: ...\n"


def test_versions_are_listed_by_number(catalog: Catalog, tmp_path: Path):
    for version in ("1.10.0", "1.9.0", "2.0.0"):
        catalog.publish(make_package(tmp_path, version=version), who="ada")

    assert list(catalog.snapshot().models["echo"].versions) == ["1.9.0", "1.10.0", "2.0.0"]


def test_an_alias_moves_and_its_version_is_served_beside_the_one_before(echo: Catalog):
    echo.set_alias("echo", "default", "1.1.0", who="bob")

    assert echo.snapshot().models["echo"].aliases == {"default": "1.1.0"}
    assert serving(echo) == ["1.0.0", "1.1.0"]
    assert echo.alias_history("echo") == [
        AliasMove("default", None, "1.0.0", NOW, "ada"),
        AliasMove("default", "1.0.0", "1.1.0", NOW, "bob"),
    ]


def test_an_alias_that_is_removed_means_nothing_and_its_version_stays_served(echo: Catalog):
    echo.set_alias("echo", "canary", "1.1.0", who="ada")

    echo.remove_alias("echo", "canary", who="bob")

    assert echo.snapshot().models["echo"].aliases == {"default": "1.0.0"}
    assert serving(echo) == ["1.0.0", "1.1.0"]
    assert echo.alias_history("echo")[1:] == [
        AliasMove("canary", None, "1.1.0", NOW, "ada"),
        AliasMove("canary", "1.1.0", None, NOW, "bob"),
    ]


def test_a_model_without_its_default_can_be_retired_and_is_stood_for_by_its_highest_version(
    echo: Catalog,
):
    echo.remove_alias("echo", "default", who="bob")
    echo.retire("echo", "1.0.0", who="bob")

    entry = echo.snapshot().models["echo"]
    assert serving(echo) == []
    assert (entry.default, entry.representative) == (None, "1.1.0")


def test_to_remove_an_alias_that_there_is_not_is_refused_with_those_that_there_are(echo: Catalog):
    before = echo.snapshot()

    with pytest.raises(UnknownAlias, match="echo has no alias 'canary'; there is default"):
        echo.remove_alias("echo", "canary", who="bob")
    with pytest.raises(UnknownModel, match="no model 'ecko'"):
        echo.remove_alias("ecko", "default", who="bob")

    assert echo.snapshot() is before
    assert len(echo.alias_history("echo")) == 1


@pytest.mark.parametrize("alias", ["", "1", "1.0.0", "Canary", "a b", "a" * 64])
def test_an_alias_is_never_mistaken_for_a_version(echo: Catalog, alias: str):
    with pytest.raises(InvalidAlias):
        echo.set_alias("echo", alias, "1.1.0", who="bob")


def test_an_unknown_version_is_refused_with_those_that_there_are(echo: Catalog):
    with pytest.raises(UnknownVersion, match=r"no version '3.0.0'; there is 1.0.0, 1.1.0"):
        echo.set_alias("echo", "default", "3.0.0", who="bob")


def test_an_unknown_model_is_refused_with_those_that_there_are(echo: Catalog):
    with pytest.raises(UnknownModel, match="no model 'ecko'; there is echo"):
        echo.serve("ecko", "1.0.0", who="bob")


def test_a_version_is_served_and_retired_by_command(echo: Catalog):
    echo.serve("echo", "1.1.0", who="bob")
    assert serving(echo) == ["1.0.0", "1.1.0"]

    echo.retire("echo", "1.1.0", who="eve")
    assert serving(echo) == ["1.0.0"]
    assert echo.serving_history("echo") == [
        ServingMove("1.0.0", True, NOW, "ada"),
        ServingMove("1.1.0", True, NOW, "bob"),
        ServingMove("1.1.0", False, NOW, "eve"),
    ]


def test_a_version_that_an_alias_means_is_not_retired(echo: Catalog):
    with pytest.raises(VersionInUse, match="default"):
        echo.retire("echo", "1.0.0", who="bob")

    assert serving(echo) == ["1.0.0"]


def test_tuning_changes_what_is_given_and_leaves_the_rest(echo: Catalog):
    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")
    settings = echo.tune("echo", SettingsChange(max_queue_delay=0.005), who="bob")

    entry = echo.snapshot().models["echo"]
    assert entry.settings == settings == Settings(queue_limit=10, max_queue_delay=0.005, revision=2)
    assert entry.settings_for("1.1.0").queue_limit == 10
    assert entry.settings_for("1.1.0").max_batch_size == 1  # the manifest's


def test_tuning_says_who_changed_what_and_when(echo: Catalog):
    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")
    echo.tune("echo", SettingsChange(queue_limit=3, max_batch_size=8), who="bob")

    assert echo.settings_history("echo") == [
        SettingsMove(1, {"queue_limit": (None, 10)}, NOW, "ada"),
        SettingsMove(2, {"queue_limit": (10, 3), "max_batch_size": (None, 8)}, NOW, "bob"),
    ]


def test_of_queue_limit_and_promise_the_one_that_was_tuned_last_governs(echo: Catalog):
    def admission() -> tuple[int | None, float | None]:
        settings = echo.snapshot().models["echo"].settings_for("1.0.0")
        return settings.queue_limit, settings.promise

    assert admission() == (64, None)  # the manifest's
    echo.tune("echo", SettingsChange(promise=5.0), who="ada")
    assert admission() == (None, 5.0)
    echo.tune("echo", SettingsChange(max_batch_size=8), who="ada")
    assert admission() == (None, 5.0)
    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")
    assert admission() == (10, None)
    assert echo.settings_history("echo")[-1].changes == {
        "promise": (5.0, None),
        "queue_limit": (None, 10),
    }


def test_a_reset_puts_the_manifests_values_in_force_again(catalog: Catalog, tmp_path: Path):
    package = make_package(tmp_path, more="[admission]\nqueue_limit = 7\n")
    catalog.publish(package, who="ada")
    catalog.tune("echo", SettingsChange(promise=5.0, max_batch_size=8), who="ada")

    settings = catalog.reset("echo", who="bob")

    entry = catalog.snapshot().models["echo"]
    assert entry.settings == settings == Settings(revision=2)  # greater, so that hosts take it
    assert entry.settings_for("1.0.0") == EffectiveSettings(7, None, 1, 0.0, 2)
    last = catalog.settings_history("echo")[-1]
    changes = {"promise": (5.0, None), "max_batch_size": (8, None)}
    assert last == SettingsMove(2, changes, NOW, "bob")


def test_what_was_tuned_after_a_reset_lies_over_the_manifests_values(echo: Catalog):
    echo.tune("echo", SettingsChange(queue_limit=10, max_batch_size=8), who="ada")
    echo.reset("echo", who="ada")

    assert echo.tune("echo", SettingsChange(queue_limit=3), who="ada") == Settings(
        queue_limit=3, revision=3
    )


def test_a_reset_is_told_apart_from_every_other_tuning(echo: Catalog):
    echo.tune("echo", SettingsChange(promise=5.0), who="ada")
    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")
    echo.reset("echo", who="ada")

    assert [move.is_reset for move in echo.settings_history("echo")] == [False, False, True]


def test_a_reset_of_what_was_never_tuned_leaves_no_trace(echo: Catalog):
    before = echo.snapshot()

    echo.reset("echo", who="bob")

    assert echo.snapshot() is before
    assert echo.settings_history("echo") == []


def test_a_reset_of_a_model_that_there_is_not_is_refused(echo: Catalog):
    with pytest.raises(UnknownModel, match="no model 'ecko'; there is echo"):
        echo.reset("ecko", who="bob")


def test_tuning_to_what_is_set_already_leaves_no_trace(echo: Catalog):
    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")
    before = echo.snapshot()

    echo.tune("echo", SettingsChange(queue_limit=10), who="bob")

    assert echo.snapshot() is before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queue_limit": 0}, "queue_limit is 0; expected an integer from 1 to 1000000"),
        ({"queue_limit": 1_000_001}, "queue_limit is 1000001"),
        ({"queue_limit": 1.5}, "queue_limit is 1.5"),
        ({"queue_limit": True}, "queue_limit is True"),
        ({"max_batch_size": 4097}, "max_batch_size is 4097; expected an integer from 1 to 4096"),
        ({"promise": 0.0}, "promise_seconds is 0.0; expected seconds from 0.001 to 3600"),
        ({"promise": "5s"}, "promise_seconds is '5s'"),
        ({"promise": 5.0, "queue_limit": 3}, "queue_limit and promise_seconds cannot both govern"),
        (
            {"max_queue_delay": -0.1},
            "max_queue_delay_seconds is -0.1; expected seconds from 0 to 60",
        ),
        ({"max_queue_delay": float("nan")}, "max_queue_delay_seconds is nan"),
        ({"max_queue_delay": "5ms"}, "max_queue_delay_seconds is '5ms'"),
        ({}, "nothing to change; expected at least one of queue_limit"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(change: dict[str, float], message: str):
    with pytest.raises(InvalidSettings) as caught:
        SettingsChange(**change)  # type: ignore[arg-type]

    assert str(caught.value).startswith(message)


def test_the_snapshot_is_the_same_object_until_something_changes(echo: Catalog):
    before = echo.snapshot()
    assert echo.snapshot() is before

    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")

    assert echo.snapshot().revision > before.revision
    assert before.models["echo"].settings == Settings()


def test_a_snapshot_cannot_be_changed(echo: Catalog):
    with pytest.raises(TypeError):
        echo.snapshot().models["other"] = echo.snapshot().models["echo"]  # type: ignore[index]


def test_another_process_sees_a_change_at_once(echo: Catalog, engine: Engine, tmp_path: Path):
    other = Catalog(engine, ArtifactStore(tmp_path / "artifacts"))
    other.snapshot()

    echo.tune("echo", SettingsChange(queue_limit=10), who="ada")

    assert other.snapshot().models["echo"].settings.queue_limit == 10


def test_processes_that_publish_and_tune_at_once_lose_nothing(catalog: Catalog, tmp_path: Path):
    program = """
import sys
from pathlib import Path
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.settings import SettingsChange
from storage.engine import open_engine
url, artifacts, package = sys.argv[1:]
catalog = Catalog(open_engine(url), ArtifactStore(Path(artifacts)))
print(catalog.publish(Path(package), who="me").created)
for _ in range(5):
    limit = catalog.snapshot().models["echo"].settings.queue_limit or 0
    catalog.tune("echo", SettingsChange(queue_limit=limit % 1000 + 1), who="me")
"""
    package = make_package(tmp_path)
    where = (f"sqlite:///{tmp_path / 'registry.db'}", str(tmp_path / "artifacts"), str(package))
    running = [
        subprocess.Popen([sys.executable, "-c", program, *where], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[0] for process in running]

    assert sorted(said) == ["False\n", "False\n", "True\n"]
    moves = catalog.settings_history("echo")
    assert [move.revision for move in moves] == list(range(1, len(moves) + 1))
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [
        catalog.snapshot().models["echo"].versions["1.0.0"].digest
    ]


def test_a_process_with_the_registry_stays_light():
    program = """
import sys
import model_registry.catalog, model_registry.leases
print([name for name in ("alembic", "aiohttp", "virtualenv", "uv", "pip") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
