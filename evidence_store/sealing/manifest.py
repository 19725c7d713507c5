"""What the store says of an interview: its takes, parts and gaps, over their closes (docs/formats/manifest.md)."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store import domains
from evidence_store.canonical import Record, canonical
from evidence_store.sealing.certificates import check_signature, sign, sign_cms

MANIFEST_TYPE = "vidne/manifest/1"


@dataclass(frozen=True, slots=True)
class TakeSummary:
    """One take as the manifest lists it. Media times are UTC nanoseconds; None where no media was recorded."""

    enrolment: bytes
    take: int
    start: bytes | None
    close: bytes
    head: bytes | None
    how: str
    segments: int
    ticks: int
    first_media_utc_ns: int | None
    last_media_utc_ns: int | None
    doubtful: int | None = None
    """The number of the revocation that makes it doubtful; None where no revocation does."""

    def record(self) -> Record:
        return {
            "close": self.close.hex(),
            "doubtful": self.doubtful,
            "enrolment": self.enrolment.hex(),
            "first_media": _text(self.first_media_utc_ns),
            "head": None if self.head is None else self.head.hex(),
            "how": self.how,
            "last_media": _text(self.last_media_utc_ns),
            "segments": self.segments,
            "start": None if self.start is None else self.start.hex(),
            "take": self.take,
            "ticks": self.ticks,
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without media that was declared. `track` is None where it concerns all of a take's tracks."""

    take: int
    track: str | None
    reason: str
    from_utc_ns: int
    to_utc_ns: int | None

    def record(self) -> Record:
        return {
            "from": str(self.from_utc_ns),
            "reason": self.reason,
            "take": self.take,
            "to": _text(self.to_utc_ns),
            "track": self.track,
        }


def _text(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else str(nanoseconds)


def manifest(
    interview: bytes, number: int, takes: list[TakeSummary], parts: list[Record], gaps: list[Gap], utc_ns: int
) -> bytes:
    """The manifest's canonical bytes. `number` counts an interview's manifests from 1: a later one says more."""
    return canonical(
        {
            "gaps": [gap.record() for gap in gaps],
            "interview": interview.hex(),
            "made": str(utc_ns),
            "number": number,
            "parts": parts,
            "takes": [take.record() for take in takes],
            "type": MANIFEST_TYPE,
        }
    )


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """manifest.json, manifest.json.p7s (CMS detached, ECDSA P-256), manifest.json.mldsa65."""

    data: bytes
    cms: bytes
    ml_dsa: bytes


def sign_manifest(
    data: bytes,
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    root: x509.Certificate,
    ml_dsa_key: mldsa.MLDSA65PrivateKey,
) -> SignedManifest:
    return SignedManifest(
        data, sign_cms(key, certificate, [root], data), sign(ml_dsa_key, domains.MANIFEST_SIGNATURE, data)
    )


def check_ml_dsa(data: bytes, signature: bytes, certificate: x509.Certificate) -> None:
    """The second signature; CMS is plain OpenSSL's to check. Raises SignatureInvalid."""
    check_signature(certificate, domains.MANIFEST_SIGNATURE, data, signature)
