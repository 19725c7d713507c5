"""What is to be stamped by outsiders, and the stamps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "stamp_want",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("interview_id", sa.String(length=32), nullable=True),
        sa.Column("wanted_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stamp_want")),
        sa.UniqueConstraint("name", name=op.f("uq_stamp_want_name")),
    )
    op.create_index(op.f("ix_stamp_want_interview_id"), "stamp_want", ["interview_id"], unique=False)
    op.create_index(op.f("ix_stamp_want_kind"), "stamp_want", ["kind"], unique=False)
    op.create_index(op.f("ix_stamp_want_settled_at_id"), "stamp_want", ["settled_at", "id"], unique=False)
    op.create_table(
        "stamp",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("want_id", sa.Integer(), nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(length=64), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.String(length=40), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.Column("ends", sa.BigInteger(), nullable=True),
        sa.Column("renew_at", sa.BigInteger(), nullable=True),
        sa.Column("obtained_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["want_id"], ["stamp_want.id"], name=op.f("fk_stamp_want_id_stamp_want")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stamp")),
    )
    op.create_index("uq_stamp_link", "stamp", ["want_id", "chain", "number"], unique=True)
    op.create_index(
        op.f("ix_stamp_authority_obtained_at_next_at"), "stamp", ["authority", "obtained_at", "next_at"], unique=False
    )
    op.create_index(op.f("ix_stamp_renew_at"), "stamp", ["renew_at"], unique=False)
