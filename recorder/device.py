"""The device's identity: enrolment, its two signing keys, and the certificates the store issued for them.

A device is a certificate authority for its takes. A new or restored disk has no enrolment and becomes a new one, so
that take numbers never repeat under one name. Its P-256 key may be made in a token (a TPM) when it is enrolled: then
`device.hsm` names it in the place of `device.key`, and a stolen disk signs nothing.
"""

from __future__ import annotations

import base64
import datetime
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store import domains
from evidence_store.canonical import Record, canonical, parse
from evidence_store.hsm import keys as hsm
from evidence_store.hsm.token import Tokens
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.journal import Signers
from recorder.spool import write_durably

KEY_AWAY: Final = "device-key-away"
"""The code of what is refused while the device's token does not answer."""


class Enroller(Protocol):
    """The store, as asked to enrol a device."""

    def __call__(self, enrolment: bytes, room: str, device: bytes, device_ml_dsa: bytes) -> certs.DeviceCertificates:
        """Keys as SubjectPublicKeyInfo (DER). Raises OutOfReach, NotPermitted."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    enrolment: bytes
    room: str
    key: ec.EllipticCurvePrivateKey
    ml_dsa_key: mldsa.MLDSA65PrivateKey
    certificates: certs.DeviceCertificates

    def new_take_key(self, take: int, now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A key that lives as long as its take, and the device's certificate for it."""
        key = certs.new_key()
        name = certs.take_name(self.enrolment, take)
        return key, certs.issue(name, key.public_key(), self.certificates.device, self.key, now)

    def answers(self) -> None:
        """Returns where the key can be used now. Raises KeysOutOfReach `device-key-away`."""
        if isinstance(self.key, hsm.SigningKey):
            self.key.answers()

    def signers(self, take_key: ec.EllipticCurvePrivateKey | None) -> Signers:
        return Signers(take_key, self.key, self.ml_dsa_key)

    def heartbeat(self, highest_take: int, head: bytes | None, utc_ns: int) -> bytes:
        """What the device says of itself now and then: a hidden last take shows against it."""
        record: Record = {
            "enrolment": self.enrolment.hex(),
            "head": None if head is None else head.hex(),
            "take": highest_take,
            "type": "vidne/heartbeat/1",
            "utc": str(utc_ns),
        }
        return self._signed(domains.HEARTBEAT_SIGNATURE, record)

    def note(self, name: str, interview: bytes, take: int, text: str, utc_ns: int) -> bytes:
        """What somebody in the room wrote about a take. `name`: 32 hexadecimal digits, the note's own."""
        record: Record = {
            "enrolment": self.enrolment.hex(),
            "id": name,
            "interview": interview.hex(),
            "take": take,
            "text": text,
            "type": "vidne/note/1",
            "utc": str(utc_ns),
        }
        return self._signed(domains.NOTE_SIGNATURE, record)

    def _signed(self, domain: str, record: Record) -> bytes:
        signature = certs.sign(self.key, domain, canonical(record))
        return canonical({"record": record, "signatures": {"device": base64.b64encode(signature).decode("ascii")}})


def load_or_enrol(folder: Path, room: str, enrol: Enroller, tokens: Tokens | None = None) -> Device:
    """The device of this disk, enrolled now where it is new: in the first token, where there is one.

    A key stays where it was made; nothing is asked of its token here. Raises what `enrol` raises, and KeysOutOfReach.
    """
    tokens = tokens or Tokens()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    described = folder / "enrolment.json"
    if not described.exists():
        _enrol(folder, room, enrol, tokens)
    record = parse(described.read_bytes())
    issued = certs.DeviceCertificates(*(certs.from_pem(record[name].encode()) for name in _CERTIFICATES))
    key: object
    if (folder / "device.hsm").exists():
        place = hsm.KeyPlace.decode((folder / "device.hsm").read_bytes())
        key = hsm.signing_key(tokens, place, issued.device.public_key(), KEY_AWAY)
    else:
        key = serialization.load_pem_private_key((folder / "device.key").read_bytes(), None)
    ml_dsa_key = serialization.load_pem_private_key((folder / "device-ml-dsa.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(ml_dsa_key, mldsa.MLDSA65PrivateKey):
        raise TypeError("device keys are of the wrong kind")
    return Device(bytes.fromhex(record["enrolment"]), record["room"], key, ml_dsa_key, issued)


_CERTIFICATES = ("root", "device", "device_ml_dsa")


def _enrol(folder: Path, room: str, enrol: Enroller, tokens: Tokens) -> None:
    enrolment, token, ml_dsa_key = secrets.token_bytes(16), tokens.first, mldsa.MLDSA65PrivateKey.generate()
    key = certs.new_key() if token is None else hsm.make_signing_key(token, f"{hsm.LABEL}device", KEY_AWAY)
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    issued = enrol(enrolment, room, key.public_key().public_bytes(*form), ml_dsa_key.public_key().public_bytes(*form))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # A crash before the description is durable leaves keys that nothing refers to: the next start enrols anew.
    if isinstance(key, hsm.SigningKey):
        write_durably(folder / "device.hsm", key.place.encode())
    else:
        write_durably(folder / "device.key", key.private_bytes(*pem))
        # One of an enrolment that a crash left undone would be taken for this one's.
        (folder / "device.hsm").unlink(missing_ok=True)
    write_durably(folder / "device-ml-dsa.key", ml_dsa_key.private_bytes(*pem))
    described = {name: certs.to_pem(getattr(issued, name)).decode() for name in _CERTIFICATES}
    write_durably(folder / "enrolment.json", canonical({"enrolment": enrolment.hex(), "room": room, **described}))
