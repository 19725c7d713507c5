"""Stamps that were issued and of which no copy is left: declared in the ledger, so that the rest can be given out.

Only what every vault has answered for: a vault that is away may have it still. A stamp that renews a lost one cannot be
checked any more, and is declared with it. Which object it was and what hash it has is what the ledger entered: whoever
edits a row must not have a stamp declared lost that lies in the vault. docs/formats/stamp.md#a-stamp-that-is-lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, InterviewRow
from evidence_store.deliveries import case_of
from evidence_store.errors import ChainBroken, OutOfReach
from evidence_store.identifiers import InterviewId
from evidence_store.ledger.book import Book
from evidence_store.ledger.ledger import Ledger
from evidence_store.ledger.proof import leaf_data
from evidence_store.scrub import look
from evidence_store.vault.vault import StoredObject

log = structlog.get_logger(__name__)

_MEMBERS: Final = ("about", "chain", "number", "object", "stamp", "what")


def declare(book: Book, interview: str) -> int:
    """Enters what is lost of an interview's stamps and was not entered yet; how many. Raises OutOfReach where a vault
    that may have one does not answer; Unavailable as the book does; ChainBroken as `entered`."""
    with book.reading() as session:
        known = lost(session, book.ledger, interview)
        chains = in_chains(entered(session, book.ledger, interview, Verb.STAMP_OBTAINED))
    found: list[tuple[Mapping[str, Any], str]] = []
    for chain in chains.values():
        gone = False
        for stamp in chain:
            why = "stamp-before-lost" if gone else _why_gone(book, stamp)
            if why is not None:
                gone = True
                found.append((stamp, why))
    fresh = [each for each in found if each[0]["stamp"] not in known]
    if fresh:
        now = book.clock()
        with book.writing() as entry:
            # Another process may have entered them meanwhile: once is enough.
            known = lost(entry.session, book.ledger, interview)
            owner = entry.session.get_one(InterviewRow, interview)
            for stamp, why in fresh:
                if stamp["stamp"] in known:
                    continue
                details = {name: stamp[name] for name in _MEMBERS} | {"why": why}
                entry.record(
                    CustodyEvent(
                        Verb.STAMP_LOST, now, Actor.store(), InterviewId(interview), case_of(owner), details=details
                    )
                )
        log.error("stamps_lost", count=len(fresh))
    return len(fresh)


def lost(session: Session, ledger: Ledger, interview: str) -> set[str]:
    """SHA-256, hex, of the stamps of an interview that were declared lost. Raises ChainBroken as `entered`."""
    return {str(each["stamp"]) for each in entered(session, ledger, interview, Verb.STAMP_LOST)}


def entered(session: Session, ledger: Ledger, interview: str, verb: Verb) -> Iterator[Mapping[str, Any]]:
    """Details of an interview's events of one verb, in the ledger's order, as its entries say them.

    Raises ChainBroken `ledger-leaf` for a body that is not that of its leaf.
    """
    query = select(CustodyEventRow.ledger_position).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == verb.value
    )
    for position in session.scalars(query.order_by(CustodyEventRow.ledger_position)):
        entry = ledger.entry(session, position)
        if entry.body is None:
            continue
        if entry.nonce is None or leaf_data(entry.nonce, entry.body) != entry.leaf:
            raise ChainBroken("a ledger entry is not what its leaf says", code="ledger-leaf")
        details: Mapping[str, Any] = parse(entry.body)["details"]
        yield details


def in_chains(stamps: Iterator[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Each first stamp with its renewals, first to last, by what they are about and the chain's name."""
    chains: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in stamps:
        chains.setdefault((str(each["about"]), str(each["chain"])), []).append(each)
    return {name: sorted(chain, key=lambda each: int(each["number"])) for name, chain in chains.items()}


def _why_gone(book: Book, stamp: Mapping[str, Any]) -> str | None:
    """An error's code where no vault has it any more; None where one does."""
    looked = look(book.vault.reaches, StoredObject(stamp["object"], 0, bytes.fromhex(stamp["stamp"])))
    if looked.data is not None:
        return None
    if looked.away:
        raise OutOfReach("a vault that may hold a time stamp does not answer", code="vault-out-of-reach")
    return min(looked.wrong.values())
