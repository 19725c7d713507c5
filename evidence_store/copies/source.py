"""What a copy is made from. The composition root fills it from database, vault, key store and ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store.sealing.keys import PrivateKey
from evidence_store.sealing.manifest import SignedManifest
from evidence_store.sealing.revocation import SignedRevocation
from evidence_store.stamps.carried import Collected

Progress = Callable[[str, float], None]
"""Called with a stage (`check`, `render`, `stream`) and how much of it is done, 0 to 1. Called from one thread at a
time; must not block."""


@dataclass(frozen=True, slots=True)
class TakeSource:
    """One take as the vault holds it. `start` is None for a void take, which has a close only.

    `read_segment(i)` gives the whole stored segment file, 0 ≤ i < `segments`; it is asked for each segment several
    times, from several threads. `device` and `device_ml_dsa` are needed for a void take (nothing else names them).
    """

    enrolment: bytes
    number: int
    start: bytes | None
    close: bytes
    segments: int
    read_segment: Callable[[int], bytes]
    torn_tail: bool = False
    device: x509.Certificate | None = None
    device_ml_dsa: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class CustodyEntry:
    """One ledger entry: its canonical body, its nonce (32 bytes), and its tlog-proof with the nonce as extra data."""

    body: bytes
    nonce: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class HouseCertificates:
    """What the root issued. The reader of a copy gets the root's fingerprint another way."""

    root: x509.Certificate
    store: x509.Certificate
    store_ml_dsa: x509.Certificate
    ledger: x509.Certificate


@dataclass(frozen=True, slots=True, repr=False)
class StoreSigner:
    """The store's private keys, belonging to `HouseCertificates.store` and `.store_ml_dsa`."""

    key: ec.EllipticCurvePrivateKey
    ml_dsa_key: mldsa.MLDSA65PrivateKey


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom the copy is for. `age_public_key`: `age1…` (X25519). Purpose and name are free text, kept in the copy."""

    age_public_key: str
    purpose: str
    requested_by: str


@dataclass(frozen=True, slots=True, repr=False)
class CopySource:
    """Everything that a copy holds or is made with. `takes`: every take of the interview, in the manifest's order.

    `checkpoint`: the latest signed checkpoint of the ledger, a note. `stamps`: every stamp about these takes and this
    manifest that custody has. `copy_id`: 16 random bytes. `revocations`: those of the takes' devices.
    """

    copy_id: bytes
    made_utc_ns: int
    interview: bytes
    case_number: str
    house: str
    room: str
    interview_key: PrivateKey
    takes: Sequence[TakeSource]
    manifest: SignedManifest
    certificates: HouseCertificates
    signer: StoreSigner
    recipient: Recipient
    custody: Sequence[CustodyEntry] = field(default_factory=tuple)
    checkpoint: bytes | None = None
    stamps: Collected = field(default_factory=Collected)
    revocations: Sequence[SignedRevocation] = field(default_factory=tuple)
