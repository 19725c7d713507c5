"""What the vaults hold, what one of them lacks, and the readings of it all; each segment's hash beside its head."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    with op.batch_alter_table("segment") as segment:
        # Nothing is released: a table with rows in it is of a data folder that starts anew.
        segment.add_column(sa.Column("segment_hash", sa.LargeBinary(length=32), nullable=False))
    op.create_table(
        "vault_object",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_vault_object")),
    )
    op.create_table(
        "vault_lack",
        sa.Column("vault", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("why", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["vault_object.name"], name=op.f("fk_vault_lack_name_vault_object")),
        sa.PrimaryKeyConstraint("vault", "name", name=op.f("pk_vault_lack")),
    )
    op.create_table(
        "vault_known",
        sa.Column("vault", sa.String(length=255), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vault", name=op.f("pk_vault_known")),
    )
    op.create_table(
        "scrub",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reached", sa.String(length=200), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("octets", sa.BigInteger(), nullable=False),
        sa.Column("mended", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("unread", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_scrub")),
    )
