"""Revocation of a device: its last trusted head, signed by the store (docs/formats/manifest.md#revocations). Pure.

It stops no recording. What the device sealed later is kept, and marked doubtful wherever it is spoken of: a thief who
has its keys can sign as it did, and only what the store had before is known to be from before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store import domains
from evidence_store.canonical import canonical, parse
from evidence_store.errors import InvalidInput
from evidence_store.sealing import certificates as certs

TYPE: Final = "vidne/revocation/1"
FOLDER: Final = "revocations/"
_MEMBERS: Final = {"checkpoint", "enrolment", "last", "made", "number", "type"}


@dataclass(frozen=True, slots=True)
class Revocation:
    """`take` and `head`: the last that is trusted of the device; `take` 0 where nothing is. `head` is None for a void
    number. `made`: UTC ns. A device's revocations count from 1; the strictest of them counts."""

    enrolment: bytes
    number: int
    take: int
    head: bytes | None
    made: int
    checkpoint: str | None

    @property
    def name(self) -> str:
        return f"{FOLDER}{self.enrolment.hex()}/{self.number:03d}.json"

    def encode(self) -> bytes:
        last = None if self.take == 0 else {"head": None if self.head is None else self.head.hex(), "take": self.take}
        return canonical(
            {
                "checkpoint": self.checkpoint,
                "enrolment": self.enrolment.hex(),
                "last": last,
                "made": str(self.made),
                "number": self.number,
                "type": TYPE,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Revocation:
        """Strictly: `decode(data).encode() == data`, or InvalidInput `revocation-form`."""
        record = parse(data)
        try:
            if set(record) != _MEMBERS:
                raise ValueError
            last = record["last"]
            take, head = (0, None) if last is None else (int(last["take"]), last["head"])
            found = cls(
                bytes.fromhex(record["enrolment"]), int(record["number"]), take,
                None if head is None else bytes.fromhex(head), int(record["made"]), record["checkpoint"],
            )  # fmt: skip
            if found.encode() != data or len(found.enrolment) != 16 or found.number < 1 or take < 0:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a revocation", code="revocation-form") from error
        return found

    def doubts(self, take: int, head: bytes | None) -> bool:
        """Whether a take of the device that ends at `head` goes beyond what is trusted."""
        return take > self.take or (take == self.take and head != self.head)


@dataclass(frozen=True, slots=True)
class SignedRevocation:
    """<name>.json, <name>.json.p7s (CMS detached), <name>.json.mldsa65."""

    data: bytes
    cms: bytes
    ml_dsa: bytes


def sign_revocation(
    data: bytes,
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    root: x509.Certificate,
    ml_dsa_key: mldsa.MLDSA65PrivateKey,
) -> SignedRevocation:
    return SignedRevocation(
        data, certs.sign_cms(key, certificate, [root], data), certs.sign(ml_dsa_key, domains.REVOCATION_SIGNATURE, data)
    )


def doubt(revocations: Iterable[Revocation], enrolment: bytes, take: int, head: bytes | None) -> Revocation | None:
    """The first revocation that makes a take doubtful; None where it is not. A later one can doubt more, never less."""
    told = sorted((each for each in revocations if each.enrolment == enrolment), key=lambda each: each.number)
    return next((each for each in told if each.doubts(take, head)), None)


def said(found: Revocation) -> str:
    """Why a take is doubtful, in words."""
    last = "nothing of it is trusted" if found.take == 0 else f"its last trusted head is in take {found.take}"
    return f"DOUBTFUL: device {found.enrolment.hex()[:8]} was revoked (no. {found.number}); {last}"
