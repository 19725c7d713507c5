"""Revocations of devices: checked by their two signatures, and what they say of a package's takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cryptography import x509

from evidence_store import domains
from evidence_store.copies.cms import check_cms
from evidence_store.errors import ChainBroken
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.revocation import Revocation, SignedRevocation, doubt, said

FOLDER: Final = "evidence/revocations/"


def path_of(found: Revocation) -> str:
    """Where a package keeps it; its signatures lie beside it."""
    return f"{FOLDER}{found.enrolment.hex()}-{found.number}.json"


def check_revocation(
    signed: SignedRevocation, store: x509.Certificate, store_ml_dsa: x509.Certificate, root: x509.Certificate
) -> Revocation:
    """1. form  2. both signatures of the store. Raises InvalidInput, SignatureInvalid, Unavailable."""
    found = Revocation.decode(signed.data)
    check_cms(signed.data, signed.cms, store, root)
    certs.check_signature(store_ml_dsa, domains.REVOCATION_SIGNATURE, signed.data, signed.ml_dsa)
    return found


def check_none_doubtful(revocations: list[Revocation], takes: Iterable[tuple[str, bytes, int, bytes | None]]) -> str:
    """`takes`: label, enrolment, number and last head of each. Raises ChainBroken `take-doubtful`: a doubtful take is
    kept and given out, and never called good."""
    doubted = []
    for label, enrolment, number, head in takes:
        found = doubt(revocations, enrolment, number, head)
        if found is not None:
            doubted.append(f"{label} is {said(found)}")
    if doubted:
        raise ChainBroken("; ".join(doubted), code="take-doubtful")
    return f"{len(revocations)} revocations, none of which concerns what is here" if revocations else "none is revoked"
