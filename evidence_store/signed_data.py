"""CMS SignedData (RFC 5652, 5), read and checked with `cryptography` alone. Pure.

For what Vidne and time stamp authorities sign: certificates named by issuer and serial number, signed attributes, ECDSA
or RSA with SHA-256, SHA-384 or SHA-512. Whose certificate it has to be, and why that one is trusted, is the caller's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from evidence_store import der
from evidence_store.errors import SignatureInvalid

DATA: Final = "1.2.840.113549.1.7.1"
_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SHA256: Final = "2.16.840.1.101.3.4.2.1"
HASHES: Final[dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    SHA256: hashes.SHA256,
    "2.16.840.1.101.3.4.2.2": hashes.SHA384,
    "2.16.840.1.101.3.4.2.3": hashes.SHA512,
}
_ECDSA: Final = {
    "1.2.840.10045.4.3.2": SHA256,
    "1.2.840.10045.4.3.3": "2.16.840.1.101.3.4.2.2",
    "1.2.840.10045.4.3.4": "2.16.840.1.101.3.4.2.3",
}
_RSA_ANY: Final = "1.2.840.113549.1.1.1"
_RSA: Final = {
    "1.2.840.113549.1.1.11": SHA256,
    "1.2.840.113549.1.1.12": "2.16.840.1.101.3.4.2.2",
    "1.2.840.113549.1.1.13": "2.16.840.1.101.3.4.2.3",
}


@dataclass(frozen=True, slots=True)
class Signer:
    """A SignerInfo. `issuer`: DER of the name. `digest` and `algorithm`: object identifiers. `attributes`: values (DER)
    by object identifier; `covered`: those attributes as they are signed."""

    issuer: bytes
    serial: int
    digest: str
    attributes: dict[str, list[bytes]]
    covered: bytes
    algorithm: str
    signature: bytes

    def is_of(self, certificate: x509.Certificate) -> bool:
        return (self.issuer, self.serial) == (certificate.issuer.public_bytes(), certificate.serial_number)


@dataclass(frozen=True, slots=True)
class SignedData:
    """`content`: None where it is detached. `certificates`: DER, none of them trusted.
    `revocations`: whether there are lists of those, which nobody reads here."""

    content_type: str
    content: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[Signer, ...]
    revocations: bool


def parse(data: bytes) -> SignedData:
    """A ContentInfo with SignedData in it. Raises InvalidInput `der-form` for any other form."""
    outer = der.one(data, der.SEQUENCE)
    if der.oid(outer.take(der.OID)) != _SIGNED_DATA:
        raise der.form("no SignedData")
    wrapped = outer.take(0xA0)
    outer.end()
    body = der.one(wrapped.content, der.SEQUENCE)
    if der.integer(body.take(der.INTEGER)) not in (1, 3):
        raise der.form("a SignedData of another version")
    announced = {der.algorithm(each) for each in der.set_of(body.take(der.SET).content)}
    inner = der.Reader(body.take(der.SEQUENCE).content)
    content_type, explicit = der.oid(inner.take(der.OID)), inner.optional(0xA0)
    inner.end()
    content = None
    if explicit is not None:
        held = der.Reader(explicit.content)
        content = held.take(der.OCTETS).content
        held.end()
    certificates = body.optional(0xA0)
    revocations = body.optional(0xA1)
    signers = tuple(map(_signer, der.set_of(body.take(der.SET).content)))
    body.end()
    if {each.digest for each in signers} - announced:
        raise der.form("a signer's hash that was not announced")
    ders = () if certificates is None else tuple(each.whole for each in der.set_of(certificates.content))
    return SignedData(content_type, content, ders, signers, revocations is not None)


def _signer(element: der.Element) -> Signer:
    reader = der.one(element.whole, der.SEQUENCE)
    if der.integer(reader.take(der.INTEGER)) != 1:
        raise der.form("a signer that is not named by issuer and serial number")
    name = der.Reader(reader.take(der.SEQUENCE).content)
    issuer, serial = name.take(der.SEQUENCE).whole, der.integer(name.take(der.INTEGER))
    name.end()
    digest = der.algorithm(reader.take(der.SEQUENCE))
    signed = reader.take(0xA0)
    algorithm = der.algorithm(reader.take(der.SEQUENCE))
    signature = reader.take(der.OCTETS).content
    reader.optional(0xA1)  # unsigned attributes
    reader.end()
    # Signed as the SET OF that they are, not as the [0] that they travel in (RFC 5652, 5.4).
    return Signer(issuer, serial, digest, _attributes(signed), b"\x31" + signed.whole[1:], algorithm, signature)


def _attributes(signed: der.Element) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for each in der.set_of(signed.content):
        reader = der.one(each.whole, der.SEQUENCE)
        name, values = der.oid(reader.take(der.OID)), der.set_of(reader.take(der.SET).content)
        reader.end()
        if name in found:
            raise der.form("an attribute that is there twice")
        found[name] = [value.whole for value in values]
    return found


def check(signer: Signer, certificate: x509.Certificate, content_type: str, content: bytes) -> None:
    """`certificate`'s key signed `content`, as this type. Raises SignatureInvalid `signature-invalid`."""
    kind = HASHES.get(signer.digest)
    if kind is None or not signer.is_of(certificate):
        raise SignatureInvalid("signed by another, or by an algorithm of no known kind", code="signature-invalid")
    digest = hashlib.new(kind.name, content).digest()
    said = [signer.attributes.get(name) for name in (_CONTENT_TYPE, _MESSAGE_DIGEST)]
    if said[1] != [bytes((der.OCTETS, len(digest))) + digest] or not said[0] or len(said[0]) != 1:
        raise SignatureInvalid("the signature is over other bytes", code="signature-invalid")
    outer = der.Reader(said[0][0])
    if der.oid(outer.take(der.OID)) != content_type:
        raise SignatureInvalid("the signature is over something of another type", code="signature-invalid")
    key = certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and _ECDSA.get(signer.algorithm) == signer.digest:
            key.verify(signer.signature, signer.covered, ec.ECDSA(kind()))
        elif isinstance(key, rsa.RSAPublicKey) and _RSA.get(signer.algorithm, _any(signer)) == signer.digest:
            key.verify(signer.signature, signer.covered, padding.PKCS1v15(), kind())
        else:
            raise SignatureInvalid("signed by an algorithm of no known kind", code="signature-invalid")
    except InvalidSignature as error:
        raise SignatureInvalid("the signature is wrong", code="signature-invalid") from error


def _any(signer: Signer) -> str | None:
    """RSA as a key's own identifier names it says nothing of the hash: the digest's algorithm does (RFC 3370, 3.2)."""
    return signer.digest if signer.algorithm == _RSA_ANY else None
