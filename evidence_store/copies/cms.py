"""CMS signatures by OpenSSL itself: `cryptography` can make them, and has nothing that checks them.

The signer is pinned: exactly the store's certificate, issued by the root itself. A chain alone would not do, since a
device is a certificate authority too and could issue a certificate that bears the store's name.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cryptography import x509

from evidence_store.errors import SignatureInvalid, Unavailable
from evidence_store.sealing import certificates as certs


def check_cms(data: bytes, signature: bytes, store: x509.Certificate, root: x509.Certificate) -> None:
    """Raises SignatureInvalid unless `signature` (DER, detached) is the store's over `data`.

    Runs `openssl cms -verify` on temporary files: for signed lists and records, never for media. Raises Unavailable
    where there is no openssl.
    """
    certs.check_issued(store, root, certs.STORE)
    with tempfile.TemporaryDirectory(prefix="vidne-cms-") as name:
        folder = Path(name)
        (folder / "data").write_bytes(data)
        (folder / "signature").write_bytes(signature)
        (folder / "store.pem").write_bytes(certs.to_pem(store))
        (folder / "root.pem").write_bytes(certs.to_pem(root))
        command = [
            "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "signature", "-content", "data",
            "-nointern", "-certfile", "store.pem", "-CAfile", "root.pem", "-no-CApath", "-no-CAstore",
            "-purpose", "any", "-no_check_time", "-out", "/dev/null",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise Unavailable("openssl is needed to check a CMS signature", code="openssl-missing") from error
    if done.returncode != 0:
        raise SignatureInvalid("the store's CMS signature does not hold", code="signature-invalid")
