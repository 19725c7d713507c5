"""The last time stamp before a take began, in a package (docs/formats/package.md#before-a-take).

A start bears a checkpoint of the ledger. What that covers was entered before the take began; among it is a stamp, and
so the take is no older than that stamp says. Whoever makes a recording later and dates it back has to bring a
checkpoint that is as old.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from cryptography import x509

from evidence_store.canonical import parse
from evidence_store.copies.bag import Bag, read
from evidence_store.copies.custody_proofs import check_entry, ledger_verifier
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.errors import ChainBroken
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.proof import Proof
from evidence_store.sealing.check import Start
from evidence_store.stamps.carried import Before
from evidence_store.stamps.stamp import TOLERANCE_NS, TimeAuthority, check
from evidence_store.stamps.subjects import checkpoint_size

FOLDER: Final = "evidence/stamps"
KINDS: Final = ("tsr", "txt", "json", "tlog-proof")
PATH: Final = re.compile(rf"{FOLDER}/before-([0-9a-f]{{32}})-([0-9]+)\.tsr")


def before_path(before: Before, kind: str) -> str:
    """`kind`: `tsr` the stamp, `txt` the checkpoint it is over, `json` its ledger entry, `tlog-proof` that one's
    proof."""
    return f"{FOLDER}/before-{before.enrolment}-{before.take}.{kind}"


def before_files(before: Before) -> list[tuple[str, bytes]]:
    parts = (before.response, before.note, before.body, before.proof)
    return [(before_path(before, kind), data) for kind, data in zip(KINDS, parts, strict=True)]


def read_before(bag: Bag, path: str) -> Before:
    """What lies beside this stamp. Raises Tampered, InvalidInput."""
    match = PATH.fullmatch(path)
    assert match is not None  # noqa: S101 - asked for such paths only
    response, note, body, proof = (read(bag, f"{path.removesuffix('tsr')}{kind}") for kind in KINDS)
    return Before(match[1], int(match[2]), str(parse(body)["details"]["authority"]), response, note, body, proof)


def check_before(before: Before, start: Start, ledger: x509.Certificate, authority: TimeAuthority) -> int:
    """The stamp's time, before which this take had not begun, nanoseconds UTC.

    1. The proof is in the tree of the very checkpoint that the start bears. 2. It is of a `stamp:obtained` entry, of
    this stamp. 3. The stamp is over a checkpoint of the same ledger, no larger. 4. The start claims no earlier time.
    Raises Tampered.
    """
    proof, note = Proof.parse(before.proof), start.record["checkpoint"]
    if note is None or proof.checkpoint != note.encode():
        raise ChainBroken("a stamp is not proven in the checkpoint that the start bears", code="stamps-mismatch")
    _, size = check_entry(before.proof, proof.extra or b"", before.body, ledger)
    event = CustodyEvent.from_body(before.body)
    stamped = Checkpoint.open(before.note, ledger_verifier(ledger, before.note)).size
    own = {"stamp": hashlib.sha256(before.response).hexdigest(), "what": "checkpoint"}
    if (
        event.verb is not Verb.STAMP_OBTAINED
        or {name: event.details.get(name) for name in own} != own
        or checkpoint_size(str(event.details["about"])) != stamped
        or stamped > size
    ):
        raise ChainBroken("a ledger entry is not that of the stamp beside it", code="stamps-mismatch")
    time = check(before.response, before.note, authority).time
    if time - start.utc_ns > TOLERANCE_NS:
        early = (time - start.utc_ns) / 10**9
        raise ChainBroken(
            f"a start claims a time {early:.0f} s before a stamp that it follows", code="time-contradiction"
        )
    return time
