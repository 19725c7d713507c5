"""What has to be found again: people, interviews, takes, the custody log and the ledger's rows.

    schema      the tables (SQLAlchemy 2)
    session     opening a database, bringing it up to date, transactions
    migrations/ Alembic's steps, run from inside the package

The database is an index and a memory, never the proof: what it says about evidence is checked against the vault's
bytes, the signatures and the ledger.
"""
