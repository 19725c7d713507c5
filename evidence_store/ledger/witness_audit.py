"""What the audit says of witnesses: every cosigned note in the vault, held against the ledger; who covers how much."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from evidence_store.errors import ChainBroken
from evidence_store.identifiers import utc_text
from evidence_store.ledger.book import Book
from evidence_store.ledger.checkpoint import Note
from evidence_store.ledger.policy import Cosigned, MemberState, Policy
from evidence_store.ledger.witnessing import COSIGNED, Witnessing


def cosigned_names(book: Book) -> list[str]:
    """The cosigned notes that the vault has now."""
    return [kept.name for kept in book.vault.list(COSIGNED)]


def audit_witnesses(session: Session, book: Book, witnessing: Witnessing | None, names: Sequence[str]) -> str:
    """Checks each note: a head of this log that the ledger continues, and a true cosignature where its key is known.

    Raises ChainBroken (`ledger-…`, or the code of a witness's standing no), SignatureInvalid; what holds is said in
    words: up to which size each witness of the policy covers the ledger by what lies in the vault.
    """
    policy = None if witnessing is None else witnessing.policy
    found: list[Cosigned] = []
    for name in names:
        data = book.vault.get(name)
        checkpoint = book.ledger.check_against(session, data)
        if name.split("/")[2] != f"{checkpoint.size:012d}":
            raise ChainBroken("a cosigned note lies under another size than its own", code="ledger-rewritten")
        found += _by_policy(policy, Note.parse(data), checkpoint.size)
    if policy is None or witnessing is None:
        return f"no witness policy; {len(names)} cosigned notes in the vault, all continued"
    decision = witnessing.decision(session)
    for each in decision.vetoes:
        code = "" if each.refused is None else each.refused.code
        raise ChainBroken(f"witness {each.member.key.name} says no: it holds another ledger", code=code)
    said = "; ".join(_said(each, found) for each in decision.members)
    return f"{said}. A quorum covers {decision.covered} entries; {len(names)} cosigned notes, all continued"


def _by_policy(policy: Policy | None, note: Note, size: int) -> list[Cosigned]:
    found = []
    for key in () if policy is None else (key for member in policy.members for key in member.keys):
        at = key.time_of(note)
        if at is not None:
            found.append(Cosigned(str(key), size, at))
    return found


def _said(state: MemberState, found: Sequence[Cosigned]) -> str:
    own = [each for each in found if state.member.believes(each.key, each.at)]
    best = max(own, key=lambda each: (each.size, each.at), default=None)
    covers = "nothing yet" if best is None else f"{best.size} entries, cosigned {utc_text(best.at * 10**9)}"
    return f"{state.member.key.name} covers {covers}" + (" (late)" if state.late else "")
