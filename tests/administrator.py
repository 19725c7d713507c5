"""What an administrator with a grudge types into the database, past everything of ours."""

from __future__ import annotations

import re

from evidence_store.database.session import Database


def typed(database: Database, *statements: str) -> None:
    """In SQLite's words (`x'00'`, `zeroblob(32)`), said in PostgreSQL's where that is what there is. Foreign keys are
    switched off, as who may do so does."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql("BEGIN")
            return
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(_in_postgresql(statement))
        connection.commit()


def _in_postgresql(statement: str) -> str:
    statement = statement.replace("zeroblob(32)", f"x'{'00' * 32}'").replace("9 << 56", "9::bigint << 56")
    return re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
