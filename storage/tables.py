"""The tables, as SQLAlchemy Core sees them.

`migrations` builds them; a test compares the two. Instants are seconds since
1970 in UTC, since several machines read them; lengths of time are seconds.
Used by `model_registry` and by nobody else.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

#: One row. Grows with every change that somebody routes by.
registry_revision = Table(
    "registry_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(32), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("manifest", Text, nullable=False),  # the text of model.toml
    Column("serving", Boolean, nullable=False),
    Column("published_at", Float, nullable=False),
    Column("published_by", Text, nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("version", String(32), nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
)

alias_history = Table(
    "alias_history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(63), nullable=False),
    Column("alias", String(63), nullable=False),
    Column("old_version", String(32)),
    Column("new_version", String(32)),  # NULL where the alias was removed
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Index("alias_history_by_model", "model", "alias"),
)

serving_history = Table(
    "serving_history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(63), nullable=False),
    Column("version", String(32), nullable=False),
    Column("serving", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Index("serving_history_by_model", "model"),
)

#: What an operator set; NULL leaves it to the version's manifest.
settings = Table(
    "settings",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("queue_limit", Integer),
    Column("promise", Float),
    Column("max_batch_size", Integer),
    Column("max_queue_delay", Float),
    Column("revision", Integer, nullable=False),
)

settings_history = Table(
    "settings_history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(63), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("changes", JSON, nullable=False),  # {key: [old, new]}
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Index("settings_history_by_model", "model", "revision", unique=True),
)

#: Minions that are alive, each until its lease ends.
replicas = Table(
    "replicas",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("model", String(63), nullable=False),
    Column("version", String(32), nullable=False),
    Column("address", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
)
