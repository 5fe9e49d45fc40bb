"""A promise in seconds, beside the queue limit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("settings", sa.Column("promise", sa.Float))
