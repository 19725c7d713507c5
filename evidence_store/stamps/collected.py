"""The stamps of one interview as they lie in the vault: what goes into a copy of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.custody import Verb
from evidence_store.database.schema import CustodyEventRow, LedgerCheckpointRow, StampRow, StampWantRow, TakeRow
from evidence_store.errors import ChainBroken, NotFound
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.ledger import Ledger
from evidence_store.stamps.carried import Before, Chain, Collected
from evidence_store.stamps.keeper import authority_name
from evidence_store.stamps.lost import lost
from evidence_store.stamps.subjects import Kind, checkpoint_size
from evidence_store.vault.vault import Vault

MOST_TRIED: Final = 16
"""Stamps before a take that are looked for where the last of them is lost."""


def stamps_of(session: Session, vault: Vault, ledger: Ledger, interview: str) -> Collected:
    """Every stamp about the interview's takes and manifests, and the last before each take; those left out that were
    declared lost (`evidence_store.stamps.lost`) and cannot be read.

    Raises NotFound, ChainBroken where the vault lost one that was not declared.
    """
    gone = lost(session, interview)
    query = select(StampWantRow, StampRow).join(StampRow, StampRow.want_id == StampWantRow.id)
    query = query.where(StampWantRow.interview_id == interview, StampRow.obtained_at.is_not(None))
    chains: dict[tuple[int, str], list[tuple[StampWantRow, StampRow]]] = {}
    for wanted, row in session.execute(query.order_by(StampWantRow.id, StampRow.chain, StampRow.number)):
        chains.setdefault((wanted.id, row.chain), []).append((wanted, row))
    found: list[Chain] = []
    before = tuple(_before(session, vault, ledger, interview))
    authorities = {each: vault.get(authority_name(each)) for each in {one.authority for one in before}}
    for (_, chain), rows in chains.items():
        wanted = rows[0][0]
        links = tuple(_readable(vault, [row for _, row in rows], gone))
        if not links:
            continue
        authorities |= {each: vault.get(authority_name(each)) for each, _ in links if each not in authorities}
        found.append(Chain(Kind(wanted.kind), wanted.name, wanted.data, chain, links))
    return Collected(tuple(found), authorities, before)


def _readable(vault: Vault, rows: Sequence[StampRow], gone: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """A chain up to the first stamp that is lost: what renews that one cannot be checked."""
    for row in rows:
        try:
            data = vault.get(row.object_name or "", row.sha256)
        except (NotFound, ChainBroken):
            if (row.sha256 or b"").hex() not in gone:
                raise
            return
        yield row.authority, data


def _before(session: Session, vault: Vault, ledger: Ledger, interview: str) -> Iterator[Before]:
    query = select(TakeRow).where(TakeRow.interview_id == interview, TakeRow.start_object.is_not(None))
    for take in session.scalars(query.order_by(TakeRow.enrolment, TakeRow.n)):
        note = parse(vault.get(take.start_object or ""))["record"]["checkpoint"]
        if note is None:
            continue
        for row in _last_before(session, Checkpoint.open(note.encode(), ledger.verifier).size):
            entry, details = ledger.entry(session, row.ledger_position), parse(row.details.encode())
            stamped = session.get(LedgerCheckpointRow, checkpoint_size(details["about"]))
            if stamped is None or entry.body is None:
                continue
            try:
                response = vault.get(details["object"], bytes.fromhex(details["stamp"]))
            except (NotFound, ChainBroken):
                continue  # one before it says as much, of an earlier time
            proof = ledger.prove_in(session, entry.index, note.encode()).write()
            yield Before(take.enrolment, take.n, details["authority"], response, stamped.note, entry.body, proof)
            break


def _last_before(session: Session, size: int) -> Sequence[CustodyEventRow]:
    """The last stamps over checkpoints that a ledger of this size holds, the latest first: such a stamp is about
    nobody."""
    query = select(CustodyEventRow).where(
        CustodyEventRow.ledger_position < size, CustodyEventRow.verb == Verb.STAMP_OBTAINED.value,
        CustodyEventRow.details.like(f'%"what":"{Kind.CHECKPOINT.value}"%'),
    )  # fmt: skip
    return list(session.scalars(query.order_by(CustodyEventRow.ledger_position.desc()).limit(MOST_TRIED)))
