"""The journal of a take: signed start, chain of ticks, signed close (docs/formats/journal.md).

    D    = H(start record, unsigned)           J(−1) = D
    J(t) = H(J(t−1) ‖ tick record)

Start and close travel as an envelope: the record and its signatures, in one canonical JSON text.
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store import domains
from evidence_store.canonical import Record, canonical, parse
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing.certificates import check_signature, sign, to_der

START_TYPE = "vidne/start/1"
CLOSE_TYPE = "vidne/close/1"


class Ending(enum.StrEnum):
    """How a take ended."""

    STOPPED = "stopped"
    """By somebody's hand; the take key signed the close."""
    CRASHED = "crashed"
    """The recorder died; the device closed the take when it was back."""
    VOID = "void"
    """The number was taken, but the start record never became durable: there is no media."""


@dataclass(frozen=True, slots=True)
class TrackEntry:
    """A track as a start record lists it. `timescale`: media time units a second."""

    index: int
    id: str
    camera: str
    kind: str
    timescale: int

    def record(self) -> Record:
        return {
            "camera": self.camera,
            "id": self.id,
            "index": self.index,
            "kind": self.kind,
            "timescale": self.timescale,
        }


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys a device signs with. `take` is None once that key is destroyed."""

    take: ec.EllipticCurvePrivateKey | None
    device: ec.EllipticCurvePrivateKey
    device_ml_dsa: mldsa.MLDSA65PrivateKey

    def sign(self, domain: str, digest: bytes) -> dict[str, str]:
        signatures = {
            "device": _b64(sign(self.device, domain, digest)),
            "device_ml_dsa_65": _b64(sign(self.device_ml_dsa, domain, digest)),
        }
        if self.take is not None:
            signatures["take"] = _b64(sign(self.take, domain, digest))
        return signatures


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """Strict base64 (RFC 4648, 4), one text for one value: unused bits are zero (3.5).

    Raises SignatureInvalid: it is asked of signatures, keys and certificates.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise SignatureInvalid("not base64", code="base64-form") from error
    if _b64(data) != text:
        raise SignatureInvalid("not base64", code="base64-form")
    return data


def encode_envelope(record: Record, signatures: dict[str, str]) -> bytes:
    return canonical({"record": record, "signatures": signatures})


def decode_envelope(data: bytes) -> tuple[Record, dict[str, str]]:
    """Record and signatures. Raises InvalidInput for any other form."""
    envelope = parse(data)
    record, signatures = envelope.get("record"), envelope.get("signatures")
    if set(envelope) != {"record", "signatures"} or not isinstance(record, dict) or not isinstance(signatures, dict):
        raise InvalidInput("not an envelope of record and signatures", code="envelope-form")
    if not all(isinstance(value, str) for value in signatures.values()):
        raise InvalidInput("signatures are texts", code="envelope-form")
    return record, signatures


def start_record(
    *,
    enrolment: bytes,
    take: int,
    room: str,
    interview: bytes,
    interview_public_key: bytes,
    interview_key_signature: bytes,
    store_certificate: bytes,
    tracks: list[TrackEntry],
    wrap: bytes,
    take_certificate: x509.Certificate,
    device_certificate: x509.Certificate,
    device_ml_dsa_certificate: x509.Certificate,
    previous: tuple[int, bytes] | None,
    checkpoint: str | None,
    monotonic_ns: int,
    utc_ns: int,
    boot: str,
) -> Record:
    """The start record of docs/formats/journal.md, unsigned. `previous`: number and head of the take before."""
    return {
        "checkpoint": checkpoint,
        "clock": {"boot": boot, "monotonic": str(monotonic_ns), "utc": str(utc_ns)},
        "device_certificate": _b64(to_der(device_certificate)),
        "device_ml_dsa_65_certificate": _b64(to_der(device_ml_dsa_certificate)),
        "enrolment": enrolment.hex(),
        "interview": {
            "id": interview.hex(),
            "public_key": _b64(interview_public_key),
            "signature": _b64(interview_key_signature),
            "store_certificate": _b64(store_certificate),
        },
        "previous": None if previous is None else {"head": previous[1].hex(), "take": previous[0]},
        "room": room,
        "take": take,
        "take_certificate": _b64(to_der(take_certificate)),
        "tracks": [track.record() for track in tracks],
        "type": START_TYPE,
        "wrap": _b64(wrap),
    }


def start_hash(record: Record) -> bytes:
    """D, 32 bytes."""
    return domains.sha256(domains.START, canonical(record))


def sign_start(record: Record, signers: Signers) -> bytes:
    """The start's envelope. Take key and both device keys sign D."""
    return encode_envelope(record, signers.sign(domains.START_SIGNATURE, start_hash(record)))


def next_head(head: bytes, record_bytes: bytes) -> bytes:
    """J(t) from J(t−1) and the canonical record of tick t."""
    return domains.sha256(domains.JOURNAL, head, record_bytes)


def sign_tick(take_key: ec.EllipticCurvePrivateKey, head: bytes) -> bytes:
    """The take key's signature on J(t); it stands outside the chain."""
    return sign(take_key, domains.TICK_SIGNATURE, head)


def check_tick_signature(take_certificate: x509.Certificate, head: bytes, signature: bytes) -> None:
    """Raises SignatureInvalid."""
    check_signature(take_certificate, domains.TICK_SIGNATURE, head, signature)


def close_record(
    *,
    enrolment: bytes,
    take: int,
    start: bytes | None,
    last: tuple[int, int] | None,
    head: bytes | None,
    segments: list[bytes],
    how: Ending,
    torn: tuple[bytes, int] | None,
    last_alive_utc_ns: int,
    closed_utc_ns: int,
) -> Record:
    """The close record, unsigned. `last`: segment and tick numbers; `torn`: hash and length of what was cut off."""
    return {
        "closed": str(closed_utc_ns),
        "enrolment": enrolment.hex(),
        "head": None if head is None else head.hex(),
        "how": how.value,
        "last": None if last is None else {"i": last[0], "t": last[1]},
        "last_alive": str(last_alive_utc_ns),
        "segments": [digest.hex() for digest in segments],
        "start": None if start is None else start.hex(),
        "take": take,
        "torn": None if torn is None else {"hash": torn[0].hex(), "length": torn[1]},
        "type": CLOSE_TYPE,
    }


def close_hash(record: Record) -> bytes:
    return domains.sha256(domains.CLOSE, canonical(record))


def sign_close(record: Record, signers: Signers) -> bytes:
    """The close's envelope. The take key signs where it still exists, then is destroyed; the device always."""
    return encode_envelope(record, signers.sign(domains.CLOSE_SIGNATURE, close_hash(record)))
