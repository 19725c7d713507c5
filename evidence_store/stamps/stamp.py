"""RFC 3161 requests and responses, and what holds of them (docs/formats/stamp.md). Pure: no clock, no I/O.

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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from evidence_store.canonical import canonical
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing import certificates as certs

RENEWAL_TYPE: Final = "vidne/stamp-renewal/1"
MAX_RESPONSE: Final = 64 * 1024
_MAX_AUTHORITY_FILE: Final = 256 * 1024
_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_GRANTED: Final = 0
_LONGEST_PATH: Final = 8
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
class Request:
    """`der`: the TimeStampReq (RFC 3161, 2.4.1). `nonce`: as in it."""

    der: bytes
    nonce: int


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


def request(data: bytes) -> Request:
    """Asks for a stamp over SHA-256(data), with a random nonce of 64 bits and the signer's certificate.

    Raises InvalidInput for no bytes at all.
    """
    if not data:
        raise InvalidInput("nothing cannot be stamped", code="stamp-nothing")
    built = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    if built.nonce is None:
        raise InvalidInput("a request has a nonce", code="stamp-nothing")
    return Request(built.as_bytes(), built.nonce)


def check(response: bytes, data: bytes, authority: TimeAuthority, nonce: int | None = None) -> Stamp:
    """The response is `authority`'s stamp over `data`, valid at the time it names. `nonce`: where it is still known.

    1. DER of a TimeStampResp with nothing behind it, and granted. 2. Over SHA-256(data). 3. Answers this nonce.
    4. The signer may stamp and nothing else, and is no authority itself. 5. Its certificates lead to the anchor and
    were valid at genTime. 6. The signature holds.
    Raises SignatureInvalid: `stamp-form`, `stamp-refused`, `stamp-imprint`, `stamp-nonce`, `stamp-signer`,
    `stamp-authority`, `stamp-signature`.
    """
    parsed = _parsed(response)
    try:
        return _checked(parsed, response, hashlib.sha256(data).digest(), authority, nonce)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise SignatureInvalid("not a time stamp", code="stamp-form") from error


def _parsed(response: bytes) -> TimeStampResponse:
    if len(response) > MAX_RESPONSE:
        raise SignatureInvalid("a time stamp is not that large", code="stamp-form")
    try:
        parsed = decode_timestamp_response(response)
        status = parsed.status
    except (ValueError, TypeError) as error:
        raise SignatureInvalid("not a time stamp", code="stamp-form") from error
    if status != _GRANTED:
        raise SignatureInvalid(f"the authority gave no stamp (status {status})", code="stamp-refused")
    return parsed


def _checked(
    parsed: TimeStampResponse, response: bytes, imprint: bytes, authority: TimeAuthority, nonce: int | None
) -> Stamp:
    info = parsed.tst_info
    if info.message_imprint.hash_algorithm.dotted_string != _SHA256 or info.message_imprint.message != imprint:
        raise SignatureInvalid("the stamp is over other bytes", code="stamp-imprint")
    if nonce is not None and info.nonce != nonce:
        raise SignatureInvalid("the stamp answers another request", code="stamp-nonce")
    embedded = [x509.load_der_x509_certificate(each) for each in parsed.signed_data.certificates]
    signer = _signer(parsed, embedded)
    _check_signer(signer)
    path = _path(signer, [*embedded, *authority.between], authority.anchor)
    verifier = VerifierBuilder(roots=[authority.anchor], intermediates=list(authority.between)).build()
    try:
        verifier.verify(parsed, imprint)
    except VerificationError as error:
        # The library's own words hold bytes of what was sent.
        raise SignatureInvalid("the stamp's signature does not hold at its time", code="stamp-signature") from error
    ends = min(each.not_valid_after_utc for each in path)
    return Stamp(response, imprint, info.nonce, nanoseconds(info.gen_time), nanoseconds(ends), info.serial_number)


def _signer(parsed: TimeStampResponse, embedded: Sequence[x509.Certificate]) -> x509.Certificate:
    signers = list(parsed.signed_data.signer_infos)
    if len(signers) != 1:
        raise SignatureInvalid("a stamp has one signer", code="stamp-signer")
    wanted = (signers[0].issuer, signers[0].serial_number)
    found = [each for each in embedded if (each.issuer, each.serial_number) == wanted]
    if len(found) != 1:
        raise SignatureInvalid("the signer's certificate is not in the stamp", code="stamp-signer")
    return found[0]


def _check_signer(signer: x509.Certificate) -> None:
    """RFC 3161, 2.3: the key is for stamping alone, marked critical. And it issues nothing."""
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise SignatureInvalid("the signer may not stamp", code="stamp-signer") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise SignatureInvalid("the signer may not stamp, or may do more than that", code="stamp-signer")
    for extension in signer.extensions:
        value = extension.value
        if (isinstance(value, x509.BasicConstraints) and value.ca) or (
            isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign)
        ):
            raise SignatureInvalid("the signer is a certificate authority", code="stamp-signer")
    key = signer.public_key()
    strong = isinstance(key, ec.EllipticCurvePublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048)
    if not strong:
        raise SignatureInvalid("the signer's key is of no known kind", code="stamp-signer")


def _path(
    signer: x509.Certificate, between: Sequence[x509.Certificate], anchor: x509.Certificate
) -> list[x509.Certificate]:
    """From the signer up to the pinned anchor and no other. Validity and constraints are the library's to check."""
    path = [signer]
    while len(path) < _LONGEST_PATH:
        if _issued(path[-1], anchor):
            return [*path, anchor]
        above = next((each for each in between if each not in path and _issued(path[-1], each)), None)
        if above is None:
            break
        path.append(above)
    raise SignatureInvalid("the stamp is of no authority that is known here", code="stamp-authority")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


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
