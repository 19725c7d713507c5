"""What the store holds when all is over, against what it had acknowledged: nothing missing, nothing twice, all proven.

Everything here is looked at from outside the process that was killed: bytes of both vaults, the database, `vidne
audit`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from sqlalchemy import func, select

from api.settings import Settings
from api.wiring import Store
from evidence_store.canonical import parse
from evidence_store.custody import Verb
from evidence_store.database.schema import (
    CustodyEventRow,
    ErasureRow,
    InterviewRow,
    KeyWrapRow,
    StampRow,
    StampWantRow,
    VaultObjectRow,
)
from evidence_store.errors import VidneError
from evidence_store.ledger.proof import Proof
from tests.kills.client import Acknowledged

_ONCE = (
    Verb.TAKE_STARTED, Verb.TAKE_CLOSED, Verb.MINUTE, Verb.GAP, Verb.INTERVIEW_SEALED, Verb.ERASURE_REQUESTED,
    Verb.ERASURE_APPROVED, Verb.INTERVIEW_ERASED, Verb.STAMP_OBTAINED, Verb.INTERVIEW_KEY_MINTED, Verb.TAKE_TESTED,
    Verb.INTERVIEW_ASSIGNED, Verb.KEYS_ROTATED, Verb.DEVICE_ENROLLED,
)  # fmt: skip


def unfinished(store: Store, acknowledged: Acknowledged) -> list[str]:
    """What the store has still to do by itself: nothing, when it has been left alone for a while."""
    book, found = store.book, []
    lacking = book.vault.holdings.lacking(book.vault.identities)
    found += [f"{count} objects are not in {vault}" for vault, (count, _) in lacking.items()]
    with book.reading() as session:
        over = ("sealed", "available", "erased")
        for interview in acknowledged.closed:
            if session.get_one(InterviewRow, interview).state not in over:
                found.append(f"interview {interview[:8]} is not sealed")
        wanted = session.scalar(select(func.count()).where(StampWantRow.settled_at.is_(None))) or 0
        found += [f"{wanted} things have no stamp"] if wanted else []
        undone = session.scalar(select(func.count()).where(ErasureRow.done_at.is_(None))) or 0
        found += [f"{undone} erasures are not carried out"] if undone else []
    return found


def faults(settings: Settings, store: Store, acknowledged: Acknowledged) -> list[str]:
    """Everything that is not as it was acknowledged; empty when all is well."""
    return [
        *_objects(settings, store, acknowledged), *_twice(settings, store), *_interviews(settings, store, acknowledged),
        *_stamps(settings, store), *_audit(settings),
    ]  # fmt: skip


def _objects(settings: Settings, store: Store, acknowledged: Acknowledged) -> Iterator[str]:
    """Each acknowledged object in each vault, by its bytes."""
    assert settings.second_vault is not None
    for vault in (settings.store_folder / "vault", settings.second_vault):
        for name, digest in acknowledged.objects.items():
            path = vault / "objects" / name
            if not path.is_file():
                yield f"{name} was acknowledged and is not in {vault.name}"
            elif sha256(path.read_bytes()).hexdigest() != digest:
                yield f"{name} in {vault.name} is not what was acknowledged"
    with store.book.reading() as session:
        for row in session.scalars(select(VaultObjectRow)):
            for vault in (settings.store_folder / "vault", settings.second_vault):
                path = vault / "objects" / row.name
                if not path.is_file() or sha256(path.read_bytes()).digest() != row.sha256:
                    yield f"{row.name} is known and not whole in {vault.name}"


def _twice(settings: Settings, store: Store) -> Iterator[str]:
    """What may happen once stands once in custody; and each vault has one manifest of an interview and one stamp of a
    question."""
    with store.book.reading() as session:
        query = select(CustodyEventRow).where(CustodyEventRow.verb.in_([verb.value for verb in _ONCE]))
        seen = Counter((row.verb, row.interview_id, _about(row)) for row in session.scalars(query))
    yield from (f"{verb} of {about} stands {count} times" for (verb, _, about), count in seen.items() if count > 1)
    for path in (settings.store_folder / "vault" / "objects" / "interviews").rglob("manifest-*.json"):
        if path.name != "manifest-001.json":
            yield f"{path.parent.name[:8]} has another manifest, {path.name}"


def _about(row: CustodyEventRow) -> str:
    """What an event is about, without what tells two entries of the same apart: its moment."""
    details = parse(row.details.encode())
    names = ("enrolment", "take", "t", "track", "from", "to", "about", "chain", "number", "present", "device")
    return f"{row.actor_id} " + " ".join(f"{name}={details[name]}" for name in names if name in details)


def _interviews(settings: Settings, store: Store, acknowledged: Acknowledged) -> Iterator[str]:
    """Sealed with the heads of their receipts; keys open what is not erased, and nothing opens what is."""
    with store.book.reading() as session:
        for interview in acknowledged.keys:
            row, wrap = session.get(InterviewRow, interview), session.get(KeyWrapRow, interview)
            escrow = settings.escrow_folder / f"{interview}.seed"
            if row is None or wrap is None:
                yield f"the key of {interview[:8]} was given out and is unknown"
            elif row.state == "erased":
                if wrap.wrapped_seed is not None or escrow.exists():
                    yield f"{interview[:8]} is erased, and its key is here"
            else:
                if interview in acknowledged.erased:
                    yield f"{interview[:8]} was erased, and stands as {row.state}"
                try:
                    store.keys.open(session, interview)
                except VidneError as error:
                    yield f"the key of {interview[:8]} does not open: {error.code}"
                if not escrow.exists():
                    yield f"the key of {interview[:8]} is not in escrow"
        for interview, heads in acknowledged.closed.items():
            row = session.get_one(InterviewRow, interview)
            if row.manifest_object is None:
                yield f"{interview[:8]} has no manifest"
                continue
            manifest = parse(store.book.vault.get(row.manifest_object, row.manifest_sha256))
            sealed = {(each["enrolment"], each["take"]): each["head"] for each in manifest["takes"]}
            if any(sealed.get(take) != head for take, head in heads.items()):
                yield f"the manifest of {interview[:8]} has other heads than the receipts"
            if interview in acknowledged.assigned and row.case_number is None:
                yield f"{interview[:8]} has lost its case"


def _stamps(settings: Settings, store: Store) -> Iterator[str]:
    """One stamp of each chain's link, in the vault once."""
    with store.book.reading() as session:
        names = [name for name in session.scalars(select(StampRow.object_name)) if name is not None]
    there = {
        path.relative_to(settings.store_folder / "vault" / "objects").as_posix()
        for path in (settings.store_folder / "vault" / "objects" / "stamps").rglob("*.tsr")
    }
    yield from (f"a stamp lies in the vault that nobody knows: {name}" for name in there - set(names))
    yield from (f"a stamp is not in the vault: {name}" for name in set(names) - there)
    yield from (f"a stamp is there twice: {name}" for name, count in Counter(names).items() if count > 1)


def _audit(settings: Settings) -> Iterator[str]:
    """`vidne audit`, on the bytes."""
    environment = settings.environment()
    command = [sys.executable, "-m", "api.cli", "audit", "--json"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True,
        text=True, check=False, timeout=600,
    )  # fmt: skip
    try:
        findings = json.loads(done.stdout)["findings"]
    except ValueError:
        yield f"the audit said nothing: {done.stderr[-500:]}"
        return
    yield from (f"audit: {each['name']}: {each['detail']}" for each in findings if not each["ok"])


class Receipts:
    """Proofs that a participant took away early, and what the ledger has to say to them later."""

    def __init__(self) -> None:
        self._proofs: list[tuple[bytes, bytes]] = []

    def take(self, store: Store) -> None:
        """A proof of the last close, in the checkpoint of that moment."""
        ledger = store.book.ledger
        with store.book.reading() as session:
            query = select(CustodyEventRow.ledger_position).where(CustodyEventRow.verb == Verb.TAKE_CLOSED.value)
            at = session.scalars(query.order_by(CustodyEventRow.ledger_position.desc()).limit(1)).first()
            note = ledger.latest_checkpoint(session)
            if at is not None and note is not None and ledger.size_of(note) > at:
                entry = ledger.entry(session, at)
                assert entry.body is not None
                self._proofs.append((ledger.prove(session, at, note).write(), entry.body))

    def faults(self, store: Store) -> Iterator[str]:
        """The proofs hold, and the ledger of today has grown from the checkpoints that they bring."""
        ledger = store.book.ledger
        with store.book.reading() as session:
            for proof, body in self._proofs:
                try:
                    Proof.parse(proof).verify_body(body, ledger.verifier)
                    ledger.check_against(session, Proof.parse(proof).checkpoint)
                except VidneError as error:
                    yield f"an early proof does not hold: {error.code}"

    def __len__(self) -> int:
        return len(self._proofs)
