"""When the database's log was emptied of what an erasure had overwritten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasure", sa.Column("forgotten_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a database is restored from its backup, not taken back a step")
