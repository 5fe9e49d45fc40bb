"""The queries behind the catalog, each on a transaction that its caller opened.

Translates between rows and plain values. Contains no rule: what may be changed
is the catalog's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from sqlalchemy import Connection, delete, insert, select, update

from model_registry.settings import Settings
from storage import tables


def models(connection: Connection) -> list[str]:
    column = tables.versions.c.model
    return list(connection.scalars(select(column).distinct().order_by(column)))


def digests(connection: Connection, model: str) -> dict[str, str]:
    """Version -> digest; empty for a model that is not there."""
    table = tables.versions
    query = select(table.c.version, table.c.digest).where(table.c.model == model)
    return {row.version: row.digest for row in connection.execute(query)}


def aliases(connection: Connection, model: str) -> dict[str, str]:
    """Alias -> version."""
    table = tables.aliases
    query = select(table.c.alias, table.c.version).where(table.c.model == model).order_by("alias")
    return {row.alias: row.version for row in connection.execute(query)}


def set_alias(connection: Connection, model: str, alias: str, version: str) -> None:
    remove_alias(connection, model, alias)
    table = tables.aliases
    connection.execute(insert(table).values(model=model, alias=alias, version=version))


def remove_alias(connection: Connection, model: str, alias: str) -> None:
    table = tables.aliases
    connection.execute(delete(table).where(table.c.model == model, table.c.alias == alias))


def is_serving(connection: Connection, model: str, version: str) -> bool:
    table = tables.versions
    query = select(table.c.serving).where(table.c.model == model, table.c.version == version)
    return bool(connection.scalar(query))


def set_serving(connection: Connection, model: str, version: str, serving: bool) -> None:
    table = tables.versions
    here = update(table).where(table.c.model == model, table.c.version == version)
    connection.execute(here.values(serving=serving))


def settings(connection: Connection) -> dict[str, Settings]:
    """By model, those that were ever tuned."""
    table = tables.settings
    columns = [table.c[field.name] for field in fields(Settings)]
    query = select(table.c.model, *columns)
    return {model: Settings(*values) for model, *values in connection.execute(query)}


def set_settings(
    connection: Connection, model: str, revision: int, values: Mapping[str, float | None]
) -> None:
    """Store values under the revision that follows the model's present one."""
    table = tables.settings
    if revision == 1:
        connection.execute(insert(table).values(model=model, revision=1, **values))
    else:
        here = update(table).where(table.c.model == model)
        connection.execute(here.values(revision=revision, **values))
