from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store.database.session import Database
from evidence_store.ledger.checkpoint import NoteSigner
from evidence_store.ledger.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one, of both kinds: whatever asks for it holds on both."""
    made = Database(
        f"sqlite:///{tmp_path / 'vidne.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("cluster").make_database()
    )
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner("example.org/vidne", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def ledger(signer: NoteSigner) -> Ledger:
    return Ledger(signer)
