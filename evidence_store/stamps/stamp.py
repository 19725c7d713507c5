"""RFC 3161 responses, and what holds of them (docs/formats/stamp.md). Pure: no clock, no I/O.

A stamp is checked as of the time it names: a certificate that has run out since changes nothing of it. Whether that
time agrees with somebody's clock is asked apart from whether the stamp holds.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from evidence_store import signed_data
from evidence_store.canonical import canonical
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing import certificates as certs
from evidence_store.stamps.path import check_signer, path_of, signer_of
from evidence_store.stamps.token import TST_INFO, Token, parse

RENEWAL_TYPE: Final = "vidne/stamp-renewal/1"
_MAX_AUTHORITY_FILE: Final = 256 * 1024
TOLERANCE_NS: Final = 60 * 10**9
"""How far a clock may be from a stamp, where nobody says otherwise."""
_DAY_NS: Final = 24 * 3600 * 10**9
EARLIEST_RENEWAL_NS: Final = 90 * _DAY_NS
"""A stamp is renewed at the earliest so long before its certificates end, and in the last quarter of its life."""


@dataclass(frozen=True, slots=True)
class TimeAuthority:
    """Whose clock it is: the anchor that is trusted, and certificates that may lie between it and the signer."""

    name: str
    anchor: x509.Certificate
    between: tuple[x509.Certificate, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the anchor (DER), hex: how it is named everywhere."""
        return certs.fingerprint(self.anchor)

    @property
    def pem(self) -> bytes:
        """The anchor first, then what lies between."""
        return b"".join(certs.to_pem(each) for each in (self.anchor, *self.between))


@dataclass(frozen=True, slots=True)
class Stamp:
    """A response that holds. `time`: genTime in nanoseconds UTC. `ends`: when the first certificate between signer and
    anchor runs out, nanoseconds UTC."""

    response: bytes
    imprint: bytes
    nonce: int | None
    time: int
    ends: int
    serial: int


def authority_from_pem(data: bytes, name: str | None = None) -> TimeAuthority:
    """The first certificate is the anchor and has to be a self-signed authority; others may follow it.

    Raises InvalidInput `time-authority-form`.
    """
    try:
        anchor, *between = x509.load_pem_x509_certificates(data[:_MAX_AUTHORITY_FILE])
        anchor.verify_directly_issued_by(anchor)
        ca = anchor.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise InvalidInput("not a time authority's own certificate", code="time-authority-form") from error
    if not ca:
        raise InvalidInput("a time authority's anchor is a certificate authority", code="time-authority-form")
    return TimeAuthority(name or certs.name_of(anchor) or "time authority", anchor, tuple(between))


def check(response: bytes, data: bytes, authority: TimeAuthority, nonce: int | None = None) -> Stamp:
    """The response is `authority`'s stamp over `data`, valid at the time it names. `nonce`: where it is still known.

    1. DER of a TimeStampResp with nothing behind it, and granted. 2. Over SHA-256(data). 3. Answers this nonce.
    4. The signer may stamp and nothing else, is no authority itself, and is named by the signature. 5. Its
    certificates lead to the anchor and were valid at genTime. 6. The signature holds.
    Raises SignatureInvalid: `stamp-form`, `stamp-refused`, `stamp-imprint`, `stamp-nonce`, `stamp-signer`,
    `stamp-authority`, `stamp-signature`.
    """
    try:
        return _checked(parse(response), response, hashlib.sha256(data).digest(), authority, nonce)
    except (*certs.UNREADABLE, AttributeError, OverflowError) as error:
        raise SignatureInvalid("not a time stamp", code="stamp-form") from error


def _checked(token: Token, response: bytes, imprint: bytes, authority: TimeAuthority, nonce: int | None) -> Stamp:
    if token.hash_algorithm != signed_data.SHA256 or token.imprint != imprint:
        raise SignatureInvalid("the stamp is over other bytes", code="stamp-imprint")
    if nonce is not None and token.nonce != nonce:
        raise SignatureInvalid("the stamp answers another request", code="stamp-nonce")
    embedded = [x509.load_der_x509_certificate(each) for each in token.signed.certificates]
    signer, certificate = signer_of(token.signed, embedded)
    check_signer(certificate)
    moment = datetime.datetime.fromtimestamp(token.time // 10**9, datetime.UTC)
    path = path_of(certificate, [*embedded, *authority.between], authority.anchor, moment)
    try:
        signed_data.check(signer, certificate, TST_INFO, token.info)
    except (SignatureInvalid, InvalidInput) as error:
        raise SignatureInvalid("the stamp's signature does not hold at its time", code="stamp-signature") from error
    ends = min(each.not_valid_after_utc for each in path)
    return Stamp(response, imprint, token.nonce, token.time, nanoseconds(ends), token.serial)


def renewal(data: bytes, response: bytes) -> bytes:
    """The bytes that a renewal stamps: the stamp before it, whole, and the hash of what that one was about."""
    return canonical(
        {
            "about": hashlib.sha256(data).hexdigest(),
            "previous": base64.b64encode(response).decode("ascii"),
            "type": RENEWAL_TYPE,
        }
    )


def check_chain(links: Sequence[tuple[bytes, TimeAuthority]], data: bytes) -> list[Stamp]:
    """A stamp over `data` and its renewals, first to last: each held when the next was made over it.

    Raises SignatureInvalid as `check`, and `stamp-renewed-late` where a certificate had ended before its renewal.
    """
    stamps: list[Stamp] = []
    for response, authority in links:
        covered = data if not stamps else renewal(data, stamps[-1].response)
        stamp = check(response, covered, authority)
        if stamps and not stamps[-1].time <= stamp.time <= stamps[-1].ends:
            raise SignatureInvalid("a stamp was renewed when it no longer held", code="stamp-renewed-late")
        stamps.append(stamp)
    return stamps


def renew_at(stamp: Stamp) -> int:
    """From when on a renewal is due, nanoseconds UTC."""
    return stamp.ends - min(EARLIEST_RENEWAL_NS, (stamp.ends - stamp.time) // 4)


def offset(time: int, asked: int, answered: int) -> int:
    """How far our clock is ahead of genTime (behind: negative), nanoseconds. 0 where it lies between question and
    answer, of which genTime gives whole seconds only."""
    if asked - 10**9 <= time <= answered:
        return 0
    return asked - time if time < asked else answered - time


def contradicted(time: int, ahead: int, claim: int | None, tolerance: int) -> list[str]:
    """Whom the outsider's clock contradicts: `store-clock`, which is `ahead` of it by too much, and `claim`, a time
    that what was stamped gives for itself and that was not yet. Nanoseconds."""
    found = ["store-clock"] if abs(ahead) > tolerance else []
    return [*found, "claim"] if claim is not None and claim - time > tolerance else found


def nanoseconds(moment: datetime.datetime) -> int:
    """Nanoseconds since 1970 of an aware moment, exactly."""
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
