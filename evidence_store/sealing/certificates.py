"""Who signed: root, store, device and take certificates, and the two kinds of signature (docs/formats/manifest.md).

    root            P-256, kept by the store, its fingerprint given out beforehand: the one anchor of trust
    ├── store       P-256: interview keys, manifests, copies          ├── store, ML-DSA-65 beside it
    ├── ledger      Ed25519: checkpoints
    └── device      P-256, a CA for its takes: starts, closes         └── device, ML-DSA-65 beside it
        └── take    P-256, lives as long as its take: every tick

Certificates end in 9999 (RFC 5280, 4.1.2.5: no well-defined end): validity comes from revocation and outside time.
ML-DSA-65 (FIPS 204) signs the same bytes beside ECDSA P-256: courts can check the one today, and the other stands
where the first one falls.
"""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from evidence_store import domains
from evidence_store.errors import SignatureInvalid

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey
NO_END: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)

UNREADABLE: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What `cryptography` raises for a certificate that cannot be read; the last three are no ValueError."""

ROOT: Final = "Vidne root"
STORE: Final = "Vidne store"
STORE_ML_DSA: Final = "Vidne store ML-DSA-65"
LEDGER: Final = "Vidne ledger"

_DEVICE: Final = re.compile(r"Vidne device [0-9a-f]{32}")


def device_name(enrolment: bytes) -> str:
    return f"Vidne device {enrolment.hex()}"


def device_ml_dsa_name(enrolment: bytes) -> str:
    return f"Vidne device ML-DSA-65 {enrolment.hex()}"


def take_name(enrolment: bytes, take: int) -> str:
    return f"Vidne take {enrolment.hex()} {take}"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def issue(
    name: str,
    public_key: PublicKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime.datetime,
    *,
    path_length: int | None = None,
) -> x509.Certificate:
    """A certificate signed by `issuer_key`; self-signed where `issuer` is None. A CA where `path_length` is given."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_ca = path_length is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public_key)
        .serial_number(int.from_bytes(secrets.token_bytes(16), "big") >> 1)
        .not_valid_before(not_before)
        .not_valid_after(NO_END)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_ca,
                crl_sign=is_ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER bytes in lower-case hex: what `openssl x509 -fingerprint -sha256` shows, without colons."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def name_of(certificate: x509.Certificate) -> str:
    """The common name; empty where there is not exactly one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def from_der(data: bytes) -> x509.Certificate:
    """Raises SignatureInvalid for what is not a certificate."""
    try:
        return x509.load_der_x509_certificate(data)
    except UNREADABLE as error:
        raise SignatureInvalid("not a certificate", code="certificate-form") from error


def from_pem(data: bytes) -> x509.Certificate:
    """Raises SignatureInvalid for what is not a certificate."""
    try:
        return x509.load_pem_x509_certificate(data)
    except UNREADABLE as error:
        raise SignatureInvalid("not a certificate", code="certificate-form") from error


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate, name: str) -> None:
    """Raises SignatureInvalid unless `issuer` (a CA) signed `certificate` and it bears this name.

    Validity periods are not looked at: they never end (see the module's head).
    """
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, *UNREADABLE) as error:
        raise SignatureInvalid("certificate was not issued by the one above it", code="certificate-chain") from error
    if not constraints.ca:
        raise SignatureInvalid("issuer is not a certificate authority", code="certificate-chain")
    if name_of(certificate) != name:
        raise SignatureInvalid("certificate bears another name", code="certificate-name")
    if _is_authority(certificate) and name != ROOT and not _DEVICE.fullmatch(name):
        raise SignatureInvalid("only the root and devices may issue certificates", code="certificate-chain")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def sign(key: ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey, domain: str, message: bytes) -> bytes:
    """Signature over domain ‖ 00 ‖ message: ECDSA P-256 with SHA-256 (DER), or ML-DSA-65 (3,309 bytes)."""
    covered = domains.prefix(domain) + message
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(covered, ec.ECDSA(hashes.SHA256()))
    return key.sign(covered)


def check_signature(certificate: x509.Certificate, domain: str, message: bytes, signature: bytes) -> None:
    """Raises SignatureInvalid unless the certificate's key signed domain ‖ 00 ‖ message."""
    covered = domains.prefix(domain) + message
    key = certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, covered, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, mldsa.MLDSA65PublicKey):
            key.verify(signature, covered)
        else:
            raise SignatureInvalid("key of a kind that signs nothing here", code="signature-kind")
    except InvalidSignature as error:
        raise SignatureInvalid(f"signature by {name_of(certificate)} is wrong", code="signature-invalid") from error


def sign_cms(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate], data: bytes
) -> bytes:
    """CMS detached signature (RFC 5652, DER) that plain `openssl cms -verify -binary -inform DER` checks."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(certificate, key, hashes.SHA256())
    for above in chain:
        builder = builder.add_certificate(above)
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    return builder.sign(serialization.Encoding.DER, options)


@dataclass(frozen=True, slots=True)
class DeviceCertificates:
    """What the store issues to a device when it is enrolled."""

    root: x509.Certificate
    device: x509.Certificate
    device_ml_dsa: x509.Certificate
