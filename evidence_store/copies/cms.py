"""The store's CMS signatures, checked without a program beside this one (docs/formats/manifest.md#three-files).

The signer is pinned: exactly the store's certificate, issued by the root itself. A chain alone would not do, since a
device is a certificate authority too and could issue a certificate that bears the store's name. Stricter than
`openssl cms -verify`, which anybody can ask too: SHA-256, detached, one signer, DER and nothing behind it.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from evidence_store import signed_data
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing import certificates as certs

MAX_SIGNATURE: Final = 64 * 1024


def check_cms(data: bytes, signature: bytes, store: x509.Certificate, root: x509.Certificate) -> None:
    """Raises SignatureInvalid unless `signature` (DER, detached) is the store's over `data`."""
    certs.check_issued(store, root, certs.STORE)
    try:
        if len(signature) > MAX_SIGNATURE:
            raise SignatureInvalid("a signature is not that large", code="signature-invalid")
        found = signed_data.parse(signature)
        if len(found.signers) != 1 or found.content is not None or found.signers[0].digest != signed_data.SHA256:
            raise SignatureInvalid("not one detached signature by SHA-256", code="signature-invalid")
        if found.content_type != signed_data.DATA:
            raise SignatureInvalid("a signature over something else than data", code="signature-invalid")
        if found.revocations or not set(found.certificates) <= {certs.to_der(store), certs.to_der(root)}:
            raise SignatureInvalid("a signature brings what others certify", code="signature-invalid")
        signed_data.check(found.signers[0], store, signed_data.DATA, data)
    except (SignatureInvalid, InvalidInput, ValueError) as error:
        raise SignatureInvalid("the store's CMS signature does not hold", code="signature-invalid") from error
