"""The store's own keys: root, store (P-256 and ML-DSA-65), ledger (Ed25519), and the key-encryption key.

    <keys folder>/root.key  store.key  store-ml-dsa.key  ledger.key  kek …    private, mode 0600
    <keys folder>/root.hsm  store.hsm                                         or which keys of a token
    <keys folder>/root.pem  store.pem  store-ml-dsa.pem  ledger.pem           certificates, to be given out

Where a first start knew a token (an HSM), root and store sign in it, and never leave it: `root.hsm` and `store.hsm`
name the keys in the place of `root.key` and `store.key`. The certificates of both are in every package, so a house
does not change over later. PKCS #11 before 3.2 has no ML-DSA, and a ledger's notes are Ed25519: those two stay files.
Nothing here ever goes into the vault, the database or a backup of them.
"""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from evidence_store import domains
from evidence_store.durable import write_durably
from evidence_store.errors import InvalidInput
from evidence_store.hsm import keys as hsm
from evidence_store.hsm.token import Token, Tokens
from evidence_store.kek import KeyEncryptionKeys
from evidence_store.ledger.checkpoint import NoteSigner
from evidence_store.sealing import certificates as certs
from evidence_store.vault.vault import Vault

CERTIFICATES = "certificates/"
"""Where the vault keeps the store's certificates: SHA-256 of the DER, `.der`. They are all that a copy of the vault
needs besides the root's fingerprint to be checked on an empty machine."""


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """Keys and certificates of one store. `log_name` is the ledger's origin line (C2SP tlog-checkpoint)."""

    root_key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    store_key: ec.EllipticCurvePrivateKey
    store: x509.Certificate
    store_ml_dsa_key: mldsa.MLDSA65PrivateKey
    store_ml_dsa: x509.Certificate
    ledger_key: ed25519.Ed25519PrivateKey
    ledger: x509.Certificate
    kek: KeyEncryptionKeys
    log_name: str

    @property
    def fingerprint(self) -> str:
        """What has to be known beforehand, outside of any package: SHA-256 of the root certificate."""
        return certs.fingerprint(self.root)

    def keep_certificates(self, vault: Vault) -> None:
        """Puts root, store and ledger certificates into the vault, those that are not there. Raises Unavailable."""
        for each in (self.root, self.store, self.store_ml_dsa, self.ledger):
            name = f"{CERTIFICATES}{certs.fingerprint(each)}.der"
            if not vault.exists(name):
                vault.put(name, certs.to_der(each))

    def answers(self) -> None:
        """Returns where the keys that may lie in tokens can be used now. Raises Unavailable, OutOfReach."""
        self.kek.answers()
        for key in (self.root_key, self.store_key):
            if isinstance(key, hsm.SigningKey):
                key.answers()

    def note_signer(self) -> NoteSigner:
        return NoteSigner(self.log_name, self.ledger_key)

    def sign_interview_key(self, interview: bytes, public_key: bytes) -> bytes:
        """The store's word that this key is this interview's: goes into every start record."""
        return certs.sign(self.store_key, domains.INTERVIEW_KEY_SIGNATURE, interview + public_key)

    def enrol(
        self, enrolment: bytes, device: bytes, device_ml_dsa: bytes, now: datetime.datetime
    ) -> certs.DeviceCertificates:
        """Certificates for a new device's keys (SubjectPublicKeyInfo, DER). Raises InvalidInput."""
        try:
            key = serialization.load_der_public_key(device)
            ml_dsa_key = serialization.load_der_public_key(device_ml_dsa)
        except ValueError as error:
            raise InvalidInput("not a public key", code="device-key-form") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidInput("a device signs with P-256", code="device-key-form")
        if not isinstance(ml_dsa_key, mldsa.MLDSA65PublicKey):
            raise InvalidInput("a device signs with ML-DSA-65 too", code="device-key-form")
        above = (self.root, self.root_key, now)
        return certs.DeviceCertificates(
            self.root,
            certs.issue(certs.device_name(enrolment), key, *above, path_length=0),
            certs.issue(certs.device_ml_dsa_name(enrolment), ml_dsa_key, *above),
        )


def create(folder: Path, now: datetime.datetime, tokens: Tokens | None = None) -> None:
    """Makes all keys, those that can in the first token. A crash leaves no `root.pem`, which is written last: the next
    start makes them anew. Raises OutOfReach where the token cannot."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = None if tokens is None else tokens.first
    root_key, store_key = _new_key(token, "root"), _new_key(token, "store")
    store_ml_dsa_key = mldsa.MLDSA65PrivateKey.generate()
    ledger_key = ed25519.Ed25519PrivateKey.generate()
    root = certs.issue(certs.ROOT, root_key.public_key(), None, root_key, now, path_length=1)
    above = (root, root_key, now)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, key in (
        ("root", root_key), ("store", store_key), ("store-ml-dsa", store_ml_dsa_key), ("ledger", ledger_key),
    ):  # fmt: skip
        if isinstance(key, hsm.SigningKey):
            write_durably(folder / f"{name}.hsm", key.place.encode())
        else:
            write_durably(folder / f"{name}.key", key.private_bytes(*pem))
            # One of a first start that a token broke off would be taken for this one's.
            (folder / f"{name}.hsm").unlink(missing_ok=True)
    if not any(folder.glob("kek*")):
        KeyEncryptionKeys(folder, tokens).add(token)
    write_durably(folder / "log-name", f"vidne.example/{secrets.token_hex(4)}\n".encode())
    write_durably(folder / "store.pem", certs.to_pem(certs.issue(certs.STORE, store_key.public_key(), *above)))
    write_durably(
        folder / "store-ml-dsa.pem",
        certs.to_pem(certs.issue(certs.STORE_ML_DSA, store_ml_dsa_key.public_key(), *above)),
    )
    write_durably(folder / "ledger.pem", certs.to_pem(certs.issue(certs.LEDGER, ledger_key.public_key(), *above)))
    write_durably(folder / "root.pem", certs.to_pem(root))


def _new_key(token: Token | None, name: str) -> ec.EllipticCurvePrivateKey:
    return certs.new_key() if token is None else hsm.make_signing_key(token, f"{hsm.LABEL}{name}")


def load(folder: Path, tokens: Tokens | None = None) -> Authority:
    """Asks nothing of a token yet. Raises FileNotFoundError where there are none, InvalidInput where one is of another
    kind, OutOfReach where one is in a token that the settings do not name."""
    tokens = tokens or Tokens()

    def private(name: str) -> object:
        if (folder / f"{name}.hsm").exists():
            place = hsm.KeyPlace.decode((folder / f"{name}.hsm").read_bytes())
            return hsm.signing_key(tokens, place, certificate(name).public_key())
        return serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)

    def certificate(name: str) -> x509.Certificate:
        return certs.from_pem((folder / f"{name}.pem").read_bytes())

    root_key, store_key = private("root"), private("store")
    store_ml_dsa_key, ledger_key = private("store-ml-dsa"), private("ledger")
    if not (
        isinstance(root_key, ec.EllipticCurvePrivateKey)
        and isinstance(store_key, ec.EllipticCurvePrivateKey)
        and isinstance(store_ml_dsa_key, mldsa.MLDSA65PrivateKey)
        and isinstance(ledger_key, ed25519.Ed25519PrivateKey)
    ):
        raise InvalidInput("the store's keys are of the wrong kind", code="store-key-form")
    return Authority(
        root_key=root_key,
        root=certificate("root"),
        store_key=store_key,
        store=certificate("store"),
        store_ml_dsa_key=store_ml_dsa_key,
        store_ml_dsa=certificate("store-ml-dsa"),
        ledger_key=ledger_key,
        ledger=certificate("ledger"),
        kek=KeyEncryptionKeys(folder, tokens),
        log_name=(folder / "log-name").read_text().strip(),
    )


def load_or_create(folder: Path, now: datetime.datetime, tokens: Tokens | None = None) -> Authority:
    if not (folder / "root.pem").exists():
        create(folder, now, tokens)
    return load(folder, tokens)
