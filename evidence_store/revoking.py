"""Revokes devices: the record goes into the vault, write-once, then into custody; and reads what the vault holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.canonical import Record, parse
from evidence_store.copies.revocations import check_revocation
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, DeviceRow, SegmentRow, TakeRow
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, Unavailable
from evidence_store.ledger.book import Book
from evidence_store.sealing.revocation import FOLDER, Revocation, SignedRevocation, sign_revocation
from evidence_store.vault.vault import Vault


def read(vault: Vault, enrolment: str | None = None) -> list[SignedRevocation]:
    """What the vault holds of one device, or of all, in order; not checked yet. Raises NotFound for half of one."""
    under = FOLDER if enrolment is None else f"{FOLDER}{enrolment}/"
    names = [kept.name for kept in vault.list(under) if kept.name.endswith(".json")]
    return [SignedRevocation(vault.get(n), vault.get(f"{n}.p7s"), vault.get(f"{n}.mldsa65")) for n in names]


def known(vault: Vault, authority: Authority, enrolment: str | None = None) -> list[Revocation]:
    """Every revocation in the vault, checked. Raises as `check_revocation`."""
    found = read(vault, enrolment)
    return [check_revocation(each, authority.store, authority.store_ml_dsa, authority.root) for each in found]


def of_takes(session: Session, vault: Vault, authority: Authority, takes: Sequence[TakeRow]) -> list[Revocation]:
    """Those of the devices of these takes. The vault is asked only where one is revoked."""
    enrolments = {take.enrolment for take in takes}
    query = select(DeviceRow.enrolment).where(DeviceRow.revoked_at.is_not(None), DeviceRow.enrolment.in_(enrolments))
    return [each for enrolment in session.scalars(query) for each in known(vault, authority, enrolment)]


def check_rows(session: Session, revocations: Iterable[Revocation]) -> str:
    """For the audit: database and vault know of the same revoked devices. Raises ChainBroken."""
    there = {each.enrolment.hex() for each in revocations}
    here = set(session.scalars(select(DeviceRow.enrolment).where(DeviceRow.revoked_at.is_not(None))))
    if there != here:
        names = ", ".join(sorted(each[:8] for each in there ^ here))
        raise ChainBroken(f"vault and database disagree on whether {names} is revoked", code="revocation-mismatch")
    return f"{len(there)} devices revoked" if there else "no device is revoked"


class Revoking:
    def __init__(self, book: Book, authority: Authority) -> None:
        self._book = book
        self._authority = authority

    def revoke(
        self, enrolment: str, reason: str, last_take: int | None = None, head: bytes | None = None
    ) -> Revocation:
        """Revokes a device. `last_take`: the last that is trusted, 0 for none; without it the last that the store has a
        head of. `head`: one of that take's segments, where not all of it is trusted.

        In the vault before the database knows: a crash in between is made good by the same call again. Raises NotFound
        for a device or a take that is not here, InvalidInput `revocation-head`, Conflict `revocation-later` where an
        earlier revocation trusts less already.
        """
        # Asked before anything is write-once: what custody refuses must not be in the vault already.
        CustodyEvent(Verb.DEVICE_REVOKED, 0, Actor.console(), reason=reason).refuse_cpr()
        if self._book.read_only:
            raise Unavailable("the ledger is not the one that the vault remembers", code="ledger-read-only")
        with self._book.reading() as session:
            if session.get(DeviceRow, enrolment) is None:
                raise NotFound("no such device is enrolled here", code="device-unknown")
            take, trusted = self._last(session, enrolment, last_take, head)
            note = self._book.ledger.latest_checkpoint(session)
        made = self._made(enrolment, take, trusted, None if note is None else note.decode())
        with self._book.writing() as entry:
            device = entry.session.get_one(DeviceRow, enrolment)
            device.revoked_at = device.revoked_at or made.made
            details = {
                "enrolment": enrolment, "head": None if made.head is None else made.head.hex(),
                "number": made.number, "sha256": hashlib.sha256(made.encode()).hexdigest(), "take": made.take,
            }  # fmt: skip
            if not _told(entry.session, details):
                at = self._book.clock()
                entry.record(CustodyEvent(Verb.DEVICE_REVOKED, at, Actor.console(), reason=reason, details=details))
        return made

    def _made(self, enrolment: str, take: int, head: bytes | None, note: str | None) -> Revocation:
        """The record in the vault that says this: the one that a crash left there, or a new one."""
        before = known(self._book.vault, self._authority, enrolment)
        if any(each.take < take for each in before):
            raise Conflict("an earlier revocation trusts less of this device", code="revocation-later")
        for each in before:
            if (each.take, each.head) == (take, head):
                return each
        # Signatures that a crash left without their record have a number of their own: it is not used again.
        names = [kept.name for kept in self._book.vault.list(f"{FOLDER}{enrolment}/")]
        used = max((int(name.rpartition("/")[2][:3]) for name in names), default=0)
        made = Revocation(bytes.fromhex(enrolment), used + 1, take, head, self._book.clock(), note)
        self._store(made)
        return made

    def _last(
        self, session: Session, enrolment: str, last_take: int | None, head: bytes | None
    ) -> tuple[int, bytes | None]:
        if last_take == 0:
            return 0, None
        query = select(TakeRow).where(TakeRow.enrolment == enrolment).order_by(TakeRow.n.desc())
        if last_take is None:
            row = session.scalars(query).first()
            if row is None:
                return 0, None
        else:
            row = session.get(TakeRow, (enrolment, last_take))
            if row is None:
                raise NotFound("the store has no such take of this device", code="take")
        ends = row.head or row.announced_head or row.start_hash
        if head is None or head == ends:
            return row.n, ends
        within = select(SegmentRow.i).where(
            SegmentRow.enrolment == enrolment, SegmentRow.n == row.n, SegmentRow.head_after == head
        )
        if session.scalars(within).first() is None:
            raise InvalidInput("no segment of that take ends at that head", code="revocation-head")
        return row.n, head

    def _store(self, made: Revocation) -> None:
        vault, authority = self._book.vault, self._authority
        signed = sign_revocation(
            made.encode(), authority.store_key, authority.store, authority.root, authority.store_ml_dsa_key
        )
        # The record last: what is found is whole.
        vault.put(f"{made.name}.p7s", signed.cms)
        vault.put(f"{made.name}.mldsa65", signed.ml_dsa)
        vault.put(made.name, signed.data)


def _told(session: Session, details: Record) -> bool:
    query = select(CustodyEventRow.details).where(CustodyEventRow.verb == Verb.DEVICE_REVOKED.value)
    return any(parse(text.encode())["sha256"] == details["sha256"] for text in session.scalars(query))
