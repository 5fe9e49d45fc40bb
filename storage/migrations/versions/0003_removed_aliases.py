"""Aliases that were removed: in their history nothing comes after."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("alias_history") as table:  # SQLite copies it to change a column
        table.alter_column("new_version", existing_type=sa.String(32), nullable=True)
