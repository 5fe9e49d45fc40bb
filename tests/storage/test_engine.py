import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, inspect, select
from sqlalchemy.exc import IntegrityError

import storage.engine
from storage import tables
from storage.engine import HEAD, migrate, open_engine, reading, writing


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'registry.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


def alembic_config() -> Config:
    config = Config()
    folder = Path(storage.engine.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    return config


def in_parallel(count: int, program: str, *arguments: str) -> list[str]:
    """What `count` interpreters printed that ran the program at once; none may fail."""
    command = [sys.executable, "-c", program, *arguments]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * count, ended
    return [output for output, _ in ended]


def test_migrations_build_the_tables_that_the_code_declares(engine: Engine):
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, tables.metadata) == []


def test_the_history_from_before_stays_when_removed_aliases_become_possible(tmp_path: Path):
    engine = open_engine(f"sqlite:///{tmp_path / 'registry.db'}")
    config = alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    move = {"model": "tagger", "alias": "canary", "at": 1.5, "who": "ada"}
    before = {"id": 7, "old_version": None, "new_version": "1.0.0", **move}
    with writing(engine) as connection:
        connection.execute(insert(tables.alias_history).values(before))

    migrate(engine)
    removed = {"id": 8, "old_version": "1.0.0", "new_version": None, **move}
    with writing(engine) as connection:
        connection.execute(insert(tables.alias_history).values(removed))

    with reading(engine) as connection:
        kept = connection.execute(select(tables.alias_history)).mappings().all()
    assert [dict(row) for row in kept] == [before, removed]
    assert [index["name"] for index in inspect(engine).get_indexes("alias_history")] == [
        "alias_history_by_model"
    ]
    engine.dispose()


def test_migrating_twice_changes_nothing(engine: Engine):
    before = inspect(engine).get_table_names()

    migrate(engine)

    assert inspect(engine).get_table_names() == before


def test_processes_that_migrate_a_new_database_at_once_all_succeed(tmp_path: Path):
    program = "import sys; from storage.engine import *; migrate(open_engine(sys.argv[1]))"

    url = f"sqlite:///{tmp_path / 'registry.db'}"
    in_parallel(4, program, url)

    assert "registry_revision" in inspect(open_engine(url)).get_table_names()


def test_a_commit_is_on_disk_before_it_is_answered(engine: Engine):
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_writers_in_several_processes_lose_no_update(engine: Engine, tmp_path: Path):
    program = """
import sys
from sqlalchemy import select, update
from storage.engine import open_engine, writing
from storage.tables import registry_revision as table
engine = open_engine(sys.argv[1])
for _ in range(20):
    with writing(engine) as connection:
        now = connection.scalar(select(table.c.revision))
        connection.execute(update(table).values(revision=now + 1))
"""

    in_parallel(3, program, f"sqlite:///{tmp_path / 'registry.db'}")

    with reading(engine) as connection:
        assert connection.scalar(select(tables.registry_revision.c.revision)) == 60


def test_a_reader_is_not_held_up_by_a_writer(engine: Engine):
    with writing(engine) as writer:
        writer.execute(tables.registry_revision.update().values(revision=7))
        with reading(engine) as reader:
            assert reader.scalar(select(tables.registry_revision.c.revision)) == 0


def test_a_block_that_raises_leaves_nothing_behind(engine: Engine):
    with suppress(RuntimeError), writing(engine) as connection:
        connection.execute(tables.registry_revision.update().values(revision=7))
        raise RuntimeError

    with reading(engine) as connection:
        assert connection.scalar(select(tables.registry_revision.c.revision)) == 0


def test_an_alias_cannot_point_to_a_version_that_is_not_there(engine: Engine):
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(
            insert(tables.aliases).values(model="tagger", alias="default", version="1.0.0")
        )


def test_opening_the_database_does_not_import_the_migration_tool():
    program = "import sys, storage.engine, storage.tables; print('alembic' in sys.modules)"

    assert in_parallel(1, program) == ["False\n"]


def test_the_newest_migration_is_the_one_that_opening_compares_with():
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_a_database_that_is_up_to_date_is_opened_without_the_migration_tool(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    code = (
        "import sys; from storage.engine import migrate, open_engine; "
        f"migrate(open_engine({url!r})); print('alembic' in sys.modules)"
    )
    run = [sys.executable, "-c", code]

    first = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    second = subprocess.run(run, capture_output=True, text=True, check=True).stdout

    assert (first, second) == ("True\n", "False\n")
