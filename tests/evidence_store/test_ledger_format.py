"""The sample in docs/formats/ledger.md is real."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from evidence_store.custody import CustodyEvent
from evidence_store.ledger.checkpoint import NoteVerifier
from evidence_store.ledger.proof import Proof, leaf_data

PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "ledger.md").read_text()


def test_the_sample_is_checked_as_the_page_says() -> None:
    blocks = re.findall(r"```(?:json)?\n(.*?)```", PAGE, re.DOTALL)
    body, proof, key = blocks[0].rstrip("\n").encode(), Proof.parse(blocks[1].encode()), blocks[2].strip()
    assert proof.write().decode() == blocks[1]
    checkpoint = proof.verify_body(body, NoteVerifier.parse(key))
    assert (checkpoint.origin, checkpoint.size, proof.index) == ("boernehus.example/ledger", 6, 3)
    assert CustodyEvent.from_body(body).body() == body
    assert proof.extra is not None
    by_hand = hashlib.sha256(b"vidne/v1/ledger-body\x00" + proof.extra + body).hexdigest()
    assert leaf_data(proof.extra, body).hex() == by_hand
    assert by_hand[:32] in PAGE
    assert by_hand[32:] in PAGE
