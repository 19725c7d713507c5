"""Interview keys: one X-Wing key pair for each interview, and what is wrapped to it.

The private half is a 32-byte seed, expanded as in draft-connolly-cfrg-xwing-kem: SHAKE256(seed, 96 bytes) gives
ML-KEM-768's d ‖ z (64 bytes) and X25519's private key (32 bytes). HPKE (RFC 9180) with KEM 0x647a, HKDF-SHA-256 and
AES-256-GCM does the wrapping. HPKE does not say who sent: what is wrapped here is signed elsewhere.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from evidence_store import domains
from evidence_store.errors import CiphertextInvalid, InvalidInput, Tampered

SEED_SIZE = 32
MLKEM_PUBLIC_SIZE = 1184
PUBLIC_SIZE = MLKEM_PUBLIC_SIZE + 32
WRAPPED_KEY_SIZE = 1168
"""A 32-byte secret under HPKE: 1120 bytes of encapsulation, 32 of ciphertext, 16 of tag."""

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, repr=False)
class PublicKey:
    """X-Wing public key: 1184 bytes of ML-KEM-768 and 32 of X25519."""

    encoded: bytes

    def __post_init__(self) -> None:
        if len(self.encoded) != PUBLIC_SIZE:
            raise InvalidInput("an X-Wing public key has 1216 bytes", code="public-key-form")

    def wrap(self, secret: bytes | bytearray, info: bytes) -> bytes:
        """`secret` under HPKE to this key, bound to `info`; 1136 bytes more than the secret."""
        try:
            key = hpke.MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(self.encoded[:MLKEM_PUBLIC_SIZE]),
                x25519.X25519PublicKey.from_public_bytes(self.encoded[MLKEM_PUBLIC_SIZE:]),
            )
        except ValueError as error:
            raise InvalidInput("not an X-Wing public key", code="public-key-form") from error
        return _SUITE.encrypt(secret, key, info=info)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """X-Wing private key, kept as its 32-byte seed."""

    seed: bytes

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise InvalidInput("an X-Wing seed has 32 bytes", code="private-key-form")

    @classmethod
    def generate(cls) -> PrivateKey:
        return cls(secrets.token_bytes(SEED_SIZE))

    def _expanded(self) -> hpke.MLKEM768X25519PrivateKey:
        expanded = hashlib.shake_256(self.seed).digest(96)
        return hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
        )

    def public_key(self) -> PublicKey:
        expanded = hashlib.shake_256(self.seed).digest(96)
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
        curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()
        return PublicKey(lattice + curve)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """What `PublicKey.wrap` was given. Raises CiphertextInvalid for another key, another info, or altered bytes."""
        try:
            return _SUITE.decrypt(wrapped, self._expanded(), info=info)
        except (InvalidTag, ValueError) as error:
            raise CiphertextInvalid("key wrap does not open", code="wrap-invalid") from error


def take_wrap_info(enrolment: bytes, take: int, interview: bytes) -> bytes:
    """HPKE info of a take's R₀: domain ‖ enrolment (16 bytes) ‖ n (8 bytes) ‖ interview (16 bytes)."""
    return domains.prefix(domains.WRAP) + enrolment + take.to_bytes(8, "big") + interview


def escrow_info(interview: bytes) -> bytes:
    """HPKE info of a seed in escrow: domain ‖ interview (16 bytes)."""
    return domains.prefix(domains.ESCROW) + interview


def lock_seed(key_encryption_key: bytes, private: PrivateKey) -> bytes:
    """The seed under the store's key-encryption key (AES-256 key wrap, RFC 3394): 40 bytes."""
    return aes_key_wrap(key_encryption_key, private.seed)


def unlock_seed(key_encryption_key: bytes, locked: bytes, public: PublicKey) -> PrivateKey:
    """The private key again, checked against its public half.

    Raises Tampered when the wrap does not open or holds another interview's seed.
    """
    try:
        seed = aes_key_unwrap(key_encryption_key, locked)
    except InvalidUnwrap as error:
        raise Tampered("locked seed does not open", code="seed-invalid") from error
    return checked_seed(seed, public)


def checked_seed(seed: bytes, public: PublicKey) -> PrivateKey:
    """The private key of an unwrapped seed. Raises Tampered when it is not the public half's."""
    try:
        private = PrivateKey(seed)
    except InvalidInput as error:
        raise Tampered("locked seed does not open", code="seed-invalid") from error
    if private.public_key() != public:
        raise Tampered("locked seed belongs to another public key", code="seed-mismatch")
    return private
