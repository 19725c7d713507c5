"""The stamps of one interview as they lie in the vault: what goes into a copy of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.custody import Verb
from evidence_store.database.schema import CustodyEventRow, LedgerCheckpointRow, StampWantRow, TakeRow
from evidence_store.errors import ChainBroken, NotFound
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.ledger import Ledger
from evidence_store.stamps.carried import Before, Chain, Collected
from evidence_store.stamps.keeper import authority_name
from evidence_store.stamps.lost import entered, in_chains, lost
from evidence_store.stamps.subjects import Kind, checkpoint_size
from evidence_store.vault.vault import Vault

MOST_TRIED: Final = 16
"""Stamps before a take that are looked for where the last of them is lost."""


def stamps_of(session: Session, vault: Vault, ledger: Ledger, interview: str) -> Collected:
    """Every stamp about the interview's takes and manifests, and the last before each take; those left out that were
    declared lost (`evidence_store.stamps.lost`) and cannot be read.

    Raises NotFound, ChainBroken where the vault lost one that was not declared.
    """
    gone = lost(session, ledger, interview)
    chains = in_chains(entered(session, ledger, interview, Verb.STAMP_OBTAINED))
    found: list[Chain] = []
    before = tuple(_before(session, vault, ledger, interview))
    authorities = {each: vault.get(authority_name(each)) for each in {one.authority for one in before}}
    for (about, chain), stamps in chains.items():
        links = tuple(_readable(vault, stamps, gone))
        if not links:
            continue
        authorities |= {each: vault.get(authority_name(each)) for each, _ in links if each not in authorities}
        data = session.scalar(select(StampWantRow.data).where(StampWantRow.name == about))
        found.append(Chain(Kind(stamps[0]["what"]), about, data, chain, links))
    return Collected(tuple(found), authorities, before)


def _readable(vault: Vault, stamps: Sequence[Mapping[str, Any]], gone: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """A chain up to the first stamp that is lost: what renews that one cannot be checked."""
    for each in stamps:
        try:
            data = vault.get(each["object"], bytes.fromhex(each["stamp"]))
        except (NotFound, ChainBroken):
            if each["stamp"] not in gone:
                raise
            return
        yield each["authority"], data


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
