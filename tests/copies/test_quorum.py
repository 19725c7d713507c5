"""How many witnesses stand for every act of a copy: the one that fewest stand for counts."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from evidence_store.copies.witnessed import check_witnesses, standing_for_all
from evidence_store.errors import ChainBroken
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner
from evidence_store.ledger.cosignature import Cosigner

ONE, OTHER = (Cosigner(name, ed25519.Ed25519PrivateKey.generate()) for name in ("w.test/1", "w.test/2"))
SIGNER = NoteSigner("vidne.test/ledger", ed25519.Ed25519PrivateKey.generate())


def note(size: int, *witnesses: Cosigner) -> bytes:
    made = Checkpoint("vidne.test/ledger", size, bytes((size,)) * 32).signed(SIGNER)
    lines = tuple(each.cosign(made.text, 1_795_000_000) for each in witnesses)
    return dataclasses.replace(made, signatures=(*made.signatures, *lines)).write()


def test_each_act_needs_as_many_as_were_asked_for() -> None:
    keys = [ONE.verifier, OTHER.verifier]
    both, first, second = note(2, ONE, OTHER), note(3, ONE), note(4, OTHER)
    assert standing_for_all({0: both, 1: both}, keys) == 2
    assert "w.test/2 covers 2 of 2 entries" in check_witnesses({0: both, 1: both}, keys, 2)
    assert standing_for_all({0: both, 1: first, 2: second}, keys) == 1
    assert "w.test/1 covers 2 of 3" in check_witnesses({0: both, 1: first, 2: second}, keys, 1)
    with pytest.raises(ChainBroken, match=r"missing on 2 of 3 custody entries \(1, 2\)"):
        check_witnesses({0: both, 1: first, 2: second}, keys, 2)
    assert standing_for_all({0: both, 1: note(5)}, keys) == 0
    assert standing_for_all({}, keys) == 0
