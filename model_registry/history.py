"""Who changed what, and when.

Lines are added in the transaction of the change itself and never altered. Called
by the catalog alone, which passes its transaction in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Table, insert, select

from storage.tables import alias_history, serving_history, settings_history


class Stamp(NamedTuple):
    """Who makes a change, and when in seconds since 1970, UTC."""

    who: str
    at: float


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An alias got another meaning, or none."""

    alias: str
    old_version: str | None
    """None: the alias is new."""
    new_version: str | None
    """None: it was removed."""
    at: datetime
    who: str


@dataclass(frozen=True, slots=True)
class ServingMove:
    """A version was served from then on, or no longer."""

    version: str
    serving: bool
    at: datetime
    who: str


@dataclass(frozen=True, slots=True)
class SettingsMove:
    """A model was tuned."""

    revision: int
    changes: Mapping[str, tuple[float | None, float | None]]
    """Setting -> value before and after; None where none was tuned."""
    at: datetime
    who: str

    @property
    def is_reset(self) -> bool:
        """Whether all that was tuned was dropped; to tune is to set something."""
        return all(new is None for _, new in self.changes.values())


def instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def note_alias(
    connection: Connection,
    model: str,
    alias: str,
    old: str | None,
    new: str | None,
    stamp: Stamp,
) -> None:
    _note(
        connection, alias_history, stamp, model=model, alias=alias, old_version=old, new_version=new
    )


def note_serving(
    connection: Connection, model: str, version: str, serving: bool, stamp: Stamp
) -> None:
    _note(connection, serving_history, stamp, model=model, version=version, serving=serving)


def note_settings(
    connection: Connection,
    model: str,
    revision: int,
    changes: Mapping[str, tuple[float | None, float | None]],
    stamp: Stamp,
) -> None:
    pairs = {key: list(pair) for key, pair in changes.items()}
    _note(connection, settings_history, stamp, model=model, revision=revision, changes=pairs)


def alias_moves(connection: Connection, model: str) -> list[AliasMove]:
    table = alias_history
    columns = select(
        table.c.alias, table.c.old_version, table.c.new_version, table.c.at, table.c.who
    )
    rows = connection.execute(columns.where(table.c.model == model).order_by(table.c.id))
    return [AliasMove(alias, old, new, instant(at), who) for alias, old, new, at, who in rows]


def serving_moves(connection: Connection, model: str) -> list[ServingMove]:
    table = serving_history
    columns = select(table.c.version, table.c.serving, table.c.at, table.c.who)
    rows = connection.execute(columns.where(table.c.model == model).order_by(table.c.id))
    return [ServingMove(version, serving, instant(at), who) for version, serving, at, who in rows]


def settings_moves(connection: Connection, model: str) -> list[SettingsMove]:
    table = settings_history
    columns = select(table.c.revision, table.c.changes, table.c.at, table.c.who)
    rows = connection.execute(columns.where(table.c.model == model).order_by(table.c.revision))
    return [
        SettingsMove(
            revision, {key: (old, new) for key, (old, new) in changes.items()}, instant(at), who
        )
        for revision, changes, at, who in rows
    ]


def _note(connection: Connection, table: Table, stamp: Stamp, **values: object) -> None:
    connection.execute(insert(table).values(**values, at=stamp.at, who=stamp.who))
