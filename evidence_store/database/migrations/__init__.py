"""Alembic's steps. Run by `evidence_store.database.session.migrate`; there is no alembic.ini."""
