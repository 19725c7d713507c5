"""The first schema."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("username", name=op.f("uq_account_username")),
    )
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("room", sa.String(length=64), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_table(
        "device",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("room", sa.String(length=64), nullable=False),
        sa.Column("certificates_pem", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("n_highest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("enrolment", name=op.f("pk_device")),
    )
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_ledger_checkpoint")),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(length=32), nullable=False),
        sa.Column("nonce", sa.LargeBinary(length=32), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_ledger_entry")),
    )
    ledger_head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "ledger_node",
        sa.Column("coordinate", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("coordinate", name=op.f("pk_ledger_node")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "custody_event",
        sa.Column("ledger_position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("verb", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=False),
        sa.Column("actor_name", sa.String(length=200), nullable=False),
        sa.Column("actor_role", sa.String(length=32), nullable=True),
        sa.Column("interview_id", sa.String(length=32), nullable=True),
        sa.Column("case_number", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_position"], ["ledger_entry.position"], name=op.f("fk_custody_event_ledger_position_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("ledger_position", name=op.f("pk_custody_event")),
        sa.UniqueConstraint("id", name=op.f("uq_custody_event_id")),
    )
    op.create_index(op.f("ix_custody_event_actor_id"), "custody_event", ["actor_id"])
    op.create_index(
        op.f("ix_custody_event_interview_id_ledger_position"), "custody_event", ["interview_id", "ledger_position"]
    )

    op.create_table(
        "interview",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_number", sa.String(length=20), nullable=True),
        sa.Column("child_ordinal", sa.Integer(), nullable=True),
        sa.Column("room", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("enrolment", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("public_key_signature", sa.LargeBinary(), nullable=True),
        sa.Column("manifest_object", sa.String(length=200), nullable=True),
        sa.Column("manifest_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(["created_by"], ["account.id"], name=op.f("fk_interview_created_by_account")),
        sa.ForeignKeyConstraint(["enrolment"], ["device.enrolment"], name=op.f("fk_interview_enrolment_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interview")),
    )
    op.create_index(op.f("ix_interview_case_number"), "interview", ["case_number"])
    op.create_index(op.f("ix_interview_enrolment"), "interview", ["enrolment"])

    op.create_table(
        "web_session",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_web_session_account_id_account")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_account_id"), "web_session", ["account_id"])

    op.create_table(
        "copy",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("interview_id", sa.String(length=32), nullable=False),
        sa.Column("requested_by", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("failure", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["interview_id"], ["interview.id"], name=op.f("fk_copy_interview_id_interview")),
        sa.ForeignKeyConstraint(["requested_by"], ["account.id"], name=op.f("fk_copy_requested_by_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copy")),
    )
    op.create_index(op.f("ix_copy_interview_id"), "copy", ["interview_id"])

    op.create_table(
        "key_wrap",
        sa.Column("interview_id", sa.String(length=32), nullable=False),
        sa.Column("kek_id", sa.String(length=64), nullable=False),
        sa.Column("wrapped_seed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["interview_id"], ["interview.id"], name=op.f("fk_key_wrap_interview_id_interview")),
        sa.PrimaryKeyConstraint("interview_id", name=op.f("pk_key_wrap")),
    )
    op.create_table(
        "take",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("interview_id", sa.String(length=32), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("start_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("start_object", sa.String(length=200), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("origin_utc", sa.BigInteger(), nullable=True),
        sa.Column("announced_i", sa.BigInteger(), nullable=True),
        sa.Column("announced_t", sa.BigInteger(), nullable=True),
        sa.Column("announced_head", sa.LargeBinary(length=32), nullable=True),
        sa.Column("announced_at", sa.BigInteger(), nullable=True),
        sa.Column("test_opened_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("close_object", sa.String(length=200), nullable=True),
        sa.Column("close_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("last_i", sa.BigInteger(), nullable=True),
        sa.Column("last_t", sa.BigInteger(), nullable=True),
        sa.Column("head", sa.LargeBinary(length=32), nullable=True),
        sa.Column("ended_how", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["enrolment"], ["device.enrolment"], name=op.f("fk_take_enrolment_device")),
        sa.ForeignKeyConstraint(["interview_id"], ["interview.id"], name=op.f("fk_take_interview_id_interview")),
        sa.PrimaryKeyConstraint("enrolment", "n", name=op.f("pk_take")),
        sa.UniqueConstraint("start_hash", name=op.f("uq_take_start_hash")),
    )
    op.create_index(op.f("ix_take_interview_id"), "take", ["interview_id"])

    op.create_table(
        "segment",
        sa.Column("enrolment", sa.String(length=32), nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("i", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("first_t", sa.BigInteger(), nullable=False),
        sa.Column("last_t", sa.BigInteger(), nullable=False),
        sa.Column("first_utc", sa.BigInteger(), nullable=False),
        sa.Column("last_utc", sa.BigInteger(), nullable=False),
        sa.Column("head_after", sa.LargeBinary(length=32), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["enrolment", "n"], ["take.enrolment", "take.n"], name=op.f("fk_segment_enrolment_n_take")
        ),
        sa.PrimaryKeyConstraint("enrolment", "n", "i", name=op.f("pk_segment")),
        sa.UniqueConstraint("object_name", name=op.f("uq_segment_object_name")),
    )
    # The one row that appends lock. An empty tree's root is the hash of nothing (RFC 6962, 2.1).
    op.execute(sa.insert(ledger_head).values(id=1, size=0, root=hashlib.sha256(b"").digest()))
