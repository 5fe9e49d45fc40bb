"""The number that tells whether anything changed that somebody routes by.

Grown in the transaction of the change itself, so that whoever sees the new
number sees the change. Used by the catalog and the leases.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from storage.tables import registry_revision


def grow(connection: Connection) -> None:
    """Note that this transaction changes something."""
    connection.execute(update(registry_revision).values(revision=registry_revision.c.revision + 1))


def current(connection: Connection) -> int:
    """The revision that this transaction sees."""
    revision: int = connection.execute(select(registry_revision.c.revision)).scalar_one()
    return revision
