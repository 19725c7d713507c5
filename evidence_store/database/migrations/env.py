"""Alembic's entry: runs the steps on the connection, and in the transaction, that `migrate` brings."""

from __future__ import annotations

from alembic import context

from evidence_store.database.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a column: Alembic makes the table anew.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
