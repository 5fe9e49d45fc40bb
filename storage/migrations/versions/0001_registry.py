"""Versions, aliases, settings, their histories, and the minions that are alive."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    revisions = op.create_table(
        "registry_revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.bulk_insert(revisions, [{"id": 1, "revision": 0}])
    op.create_table(
        "versions",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("version", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("serving", sa.Boolean, nullable=False),
        sa.Column("published_at", sa.Float, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
    )
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("alias", sa.String(63), primary_key=True),
        sa.Column("version", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    )
    op.create_table(
        "alias_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("alias", sa.String(63), nullable=False),
        sa.Column("old_version", sa.String(32)),
        sa.Column("new_version", sa.String(32), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
    )
    op.create_index("alias_history_by_model", "alias_history", ["model", "alias"])
    op.create_table(
        "serving_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("serving", sa.Boolean, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
    )
    op.create_index("serving_history_by_model", "serving_history", ["model"])
    op.create_table(
        "settings",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("queue_limit", sa.Integer),
        sa.Column("max_batch_size", sa.Integer),
        sa.Column("max_queue_delay", sa.Float),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_table(
        "settings_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
    )
    op.create_index(
        "settings_history_by_model", "settings_history", ["model", "revision"], unique=True
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
