"""From whoever signed a stamp up to the authority that is pinned (RFC 5280, 6.1, as far as stamps need it). Pure.

Names and signatures are followed as `cryptography` checks them; everything is looked at as of the time that the stamp
names. What is not known here and marked critical is refused: names and policies are constrained by nobody who stamps.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from evidence_store import der
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing import certificates as certs
from evidence_store.signed_data import SHA256, SignedData, Signer

_LONGEST: Final = 8
_MOST: Final = 32
_KNOWN: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_ANY_STAMPING: Final = {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_ESS: Final = "1.2.840.113549.1.9.16.2.12"
_ESS_2: Final = "1.2.840.113549.1.9.16.2.47"
_ESS_HASHES: Final = {SHA256: "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}


def signer_of(signed: SignedData, embedded: Sequence[x509.Certificate]) -> tuple[Signer, x509.Certificate]:
    """The one signer and its certificate, which the signature names by issuer, number and hash (RFC 5816).

    Raises SignatureInvalid `stamp-signer`.
    """
    if len(signed.signers) != 1:
        raise SignatureInvalid("a stamp has one signer", code="stamp-signer")
    found = [each for each in embedded if signed.signers[0].is_of(each)]
    if len(found) != 1:
        raise SignatureInvalid("the signer's certificate is not in the stamp", code="stamp-signer")
    try:
        named = _is_named(signed.signers[0], found[0])
    except InvalidInput:
        named = False
    if not named:
        raise SignatureInvalid("the stamp names another certificate than its signer's", code="stamp-signer")
    return signed.signers[0], found[0]


def _is_named(signer: Signer, certificate: x509.Certificate) -> bool:
    """By its hash, in SigningCertificate (RFC 2634, 5.4: SHA-1, the issuer's signature is what protects it) or in
    SigningCertificateV2 (RFC 5035, 3)."""
    found = False
    for attribute in (_ESS, _ESS_2):
        for value in signer.attributes.get(attribute, []):
            first = der.Reader(der.one(value, der.SEQUENCE).take(der.SEQUENCE).content).take(der.SEQUENCE)
            reader = der.Reader(first.content)
            name = "sha1" if attribute == _ESS else "sha256"
            if attribute == _ESS_2 and (other := reader.optional(der.SEQUENCE)) is not None:
                name = _ESS_HASHES.get(der.algorithm(other), "")
            whole = certs.to_der(certificate)
            if not name or reader.take(der.OCTETS).content != hashlib.new(name, whole, usedforsecurity=False).digest():
                return False
            found = True
    return found


def check_signer(signer: x509.Certificate) -> None:
    """RFC 3161, 2.3: the key is for stamping alone, marked critical. And it issues nothing.

    Raises SignatureInvalid `stamp-signer`.
    """
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
        if isinstance(value, x509.KeyUsage) and not (value.digital_signature or value.content_commitment):
            raise SignatureInvalid("the signer may not sign", code="stamp-signer")
    if not _strong(signer):
        raise SignatureInvalid("the signer's key is of no known kind", code="stamp-signer")


def _strong(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    return isinstance(key, ec.EllipticCurvePublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048)


def path_of(
    signer: x509.Certificate, between: Sequence[x509.Certificate], anchor: x509.Certificate, time: datetime.datetime
) -> list[x509.Certificate]:
    """Signer to anchor, both included: the first way up that held at `time`.

    Raises SignatureInvalid `stamp-authority` where none leads to the pinned anchor, `stamp-signature` where none of
    those that do held.
    """
    ways = list(_ways(signer, list(between)[:_MOST], anchor))
    for way in ways:
        if _held(way, time):
            return way
    if ways:
        raise SignatureInvalid("the stamp's certificates did not hold at its time", code="stamp-signature")
    raise SignatureInvalid("the stamp is of no authority that is known here", code="stamp-authority")


def _ways(
    signer: x509.Certificate, between: list[x509.Certificate], anchor: x509.Certificate
) -> Iterator[list[x509.Certificate]]:
    """Shortest first. Each certificate is followed upwards once: a response full of certificates that all issue each
    other costs no more than they are many, squared."""
    ways, left = [[signer]], [each for each in between if each not in (signer, anchor)]
    for way in ways:
        if _issued(way[-1], anchor):
            yield [*way, anchor]
        above = [each for each in left if _issued(way[-1], each)] if len(way) < _LONGEST else []
        ways += [[*way, each] for each in above]
        left = [each for each in left if each not in above]


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *certs.UNREADABLE):
        return False
    return True


def _held(way: list[x509.Certificate], time: datetime.datetime) -> bool:
    """Valid at `time`, each above the signer an authority with room for those below, signed by a hash that is kept."""
    if not all(each.not_valid_before_utc <= time <= each.not_valid_after_utc for each in way):
        return False
    kept = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
    if not all(isinstance(each.signature_hash_algorithm, kept) for each in way[:-1]):
        return False
    return _extensions_known(way[0]) and all(_may_issue(each, below) for below, each in enumerate(way[1:]))


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """`below`: how many authorities stand between it and the signer."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            return False
        if isinstance(value, x509.ExtendedKeyUsage) and not _ANY_STAMPING & set(value):
            return False
    room = basic.path_length is None or below <= basic.path_length
    return basic.ca and room and _strong(certificate) and _extensions_known(certificate)


def _extensions_known(certificate: x509.Certificate) -> bool:
    return all(each.oid in _KNOWN for each in certificate.extensions if each.critical)
