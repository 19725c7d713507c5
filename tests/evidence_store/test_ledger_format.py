"""The sample in docs/formats/ledger.md is real."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from evidence_store.custody import CustodyEvent
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteVerifier
from evidence_store.ledger.cosignature import CosignatureVerifier
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


def test_the_cosigned_sample_is_checked_as_the_page_says() -> None:
    blocks = re.findall(r"```(?:json)?\n(.*?)```", PAGE, re.DOTALL)
    log, witness = NoteVerifier.parse(blocks[2].strip()), CosignatureVerifier.parse(blocks[-1].strip())
    note = Note.parse(blocks[-2].encode())
    assert note.write().decode() == blocks[-2]
    assert Checkpoint.open(blocks[-2].encode(), log).size == 6
    at = witness.time_of(note)
    assert f"time {at}\\n" in PAGE
    assert [each.name for each in note.signatures] == ["boernehus.example/ledger", "prosecution.example/w1"]
