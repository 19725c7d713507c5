"""What our keys in a token do: wrap seeds (AES-256), sign (ECDSA P-256). They are made there and cannot be taken out.

A key is named by its CKA_ID, 16 random bytes; labels are for people. What is called for is read back: a token that
makes a key which could be taken out is refused, and the key destroyed.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

import pkcs11
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as said
from pkcs11.util.ec import encode_named_curve_parameters

from evidence_store.canonical import Record, canonical, parse
from evidence_store.errors import InvalidInput, KeysOutOfReach, Tampered
from evidence_store.hsm.token import Token, Tokens

LABEL: Final = "vidne "
FORM: Final = "vidne/token-key/1"
_FIELDS: Final = {"key", "mechanism", "serial", "token", "type"}
_WRAPS: Final = (Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_WRAP_KWP, Mechanism.AES_KEY_WRAP_PAD)
"""In this order. The first is RFC 3394 in every version and suits 32 bytes; what PAD means has changed between versions
(PKCS #11 v3.1, 6.13.1), so a key keeps to the one that it began with, and only on the device that made it."""
_SIGNS: Final = Mechanism.ECDSA
_OURS: Final = {Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True}
_OTHER_USES: Final = (
    Attribute.ENCRYPT, Attribute.WRAP, Attribute.VERIFY, Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE,
)  # fmt: skip
_ITS_WORD: Final = dict.fromkeys(_OTHER_USES, pkcs11.DEFAULT)
"""What else a signing key is for is the token's to say: tpm2-pkcs11 refuses to be told."""
_SEED: Final = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False, Attribute.TOKEN: False}


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Which key of which token. As a file: canonical JSON, see docs/formats/manifest.md#keys-in-a-token."""

    token: str
    serial: str
    key: bytes
    mechanism: str

    def encode(self) -> bytes:
        return canonical(
            {
                "key": self.key.hex(),
                "mechanism": self.mechanism,
                "serial": self.serial,
                "token": self.token,
                "type": FORM,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> KeyPlace:
        """Raises InvalidInput `token-key-form`."""
        try:
            record: Record = parse(data)
            place = cls(record["token"], record["serial"], bytes.fromhex(record["key"]), record["mechanism"])
            if record["type"] != FORM or set(record) != _FIELDS:
                raise ValueError("another form")
        except (InvalidInput, KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not the name of a key in a token", code="token-key-form") from error
        return place


def make_wrapping_key(token: Token, label: str) -> KeyPlace:
    """A new AES-256 key in the token, durable when this returns, that has wrapped and unwrapped once.

    Raises KeysOutOfReach as `Token.run`, and `hsm-mechanism-missing`, `hsm-key-extractable`.
    """

    def make(session: pkcs11.Session) -> tuple[bytes, str]:
        identity = secrets.token_bytes(16)  # here, since `run` may call twice: two keys of one id are found by nobody
        mechanism = _wrap_mechanism(session, token.label)
        key = session.generate_key(
            KeyType.AES, 256, id=identity, label=label, store=True, template=_OURS,
            capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        )  # fmt: skip
        _refuse_extractable(key, token.label)
        _try(session, key, mechanism, token.label)
        return identity, mechanism.name

    identity, mechanism = token.run(make)
    return KeyPlace(token.label, token.serial(), identity, mechanism)


def wrap(token: Token, place: KeyPlace, seed: bytes) -> bytes:
    """The seed under the token's key: 40 bytes. Raises KeysOutOfReach as `Token.run`."""
    mechanism = _mechanism(place)

    def work(session: pkcs11.Session) -> bytes:
        return _wrap(session, _wrapping(session, place), mechanism, seed)

    return token.run(work)


def unwrap(token: Token, place: KeyPlace, wrapped: bytes) -> bytes:
    """Raises Tampered `seed-invalid` where the wrap does not open under a key that is well. KeysOutOfReach as
    `Token.run`.

    Tokens do not agree on what a wrap that is no wrap is called: what this key makes itself has to open then.
    """
    mechanism = _mechanism(place)

    def work(session: pkcs11.Session) -> bytes:
        key = _wrapping(session, place)
        try:
            return _unwrap(session, key, mechanism, wrapped)
        except said.PKCS11Error as error:
            probe = secrets.token_bytes(32)
            if not hmac.compare_digest(_unwrap(session, key, mechanism, _wrap(session, key, mechanism, probe)), probe):
                raise
            raise Tampered("locked seed does not open", code="seed-invalid") from error

    return token.run(work)


def answers(token: Token, place: KeyPlace) -> None:
    """Returns where the key is there to be used now. Raises KeysOutOfReach as `Token.run`."""
    kind = ObjectClass.PRIVATE_KEY if place.mechanism == _SIGNS.name else ObjectClass.SECRET_KEY
    token.run(lambda session: session.get_key(object_class=kind, id=place.key))


def strays(token: Token, known: set[bytes]) -> list[str]:
    """Labels of our secret keys that the token holds and nothing of this house names: a crash, or another house.

    Raises KeysOutOfReach as `Token.run`.
    """

    def work(session: pkcs11.Session) -> list[str]:
        found = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
        named = [(str(each[Attribute.LABEL]), bytes(each[Attribute.ID])) for each in found]
        return sorted(label for label, identity in named if label.startswith(LABEL) and identity not in known)

    return token.run(work)


def destroy(token: Token, place: KeyPlace) -> None:
    """The key is gone from the token. One that was destroyed before is gone; one that the wrong device does not hold
    is not: KeysOutOfReach `hsm-other-device`. Else raises as `Token.run`.

    A session that was logged out, or whose number is another token's by now, finds nothing and says no more: that is
    believed of none but a new one, and of the device that it was opened on.
    """

    def work(session: pkcs11.Session) -> int:
        found = _objects(session, place.key)
        for each in found:
            each.destroy()
        return len(found)

    if token.run(work):
        return
    found, serial = token.run_anew(lambda session, serial: (work(session), serial))
    if not found and serial != place.serial:
        raise KeysOutOfReach(
            f"another device bears the label {token.label} now: the key was not destroyed. Nothing is lost. Connect "
            "the one that holds it.", code="hsm-other-device",
        )  # fmt: skip


class SigningKey(ec.EllipticCurvePrivateKey):
    """A P-256 private key in a token, where `cryptography` takes one: certificates, CMS, plain signatures.

    Raises from `sign` what `Token.run` does. Nothing else that a private key could do is to be had.
    """

    def __init__(
        self, token: Token, place: KeyPlace, public: ec.EllipticCurvePublicKey, away: str | None = None
    ) -> None:
        """`away`: the code that its errors carry, where whoever meets them must know whose key it is."""
        self._token, self.place, self._public, self._away = token, place, public, away

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """ECDSA with SHA-256 (DER), checked before it leaves here: a token that signs wrongly is found at once."""
        asked = signature_algorithm.algorithm if isinstance(signature_algorithm, ec.ECDSA) else None
        if not isinstance(asked, hashes.SHA256):
            raise UnsupportedAlgorithm("a key in a token signs with ECDSA and SHA-256")
        hashed = hashes.Hash(hashes.SHA256())
        hashed.update(data)
        digest = hashed.finalize()

        def work(session: pkcs11.Session) -> bytes:
            key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=self.place.key)
            return bytes(key.sign(digest, mechanism=_SIGNS))  # type: ignore[attr-defined]

        with self._its_code():
            raw = self._token.run(work)
        half = len(raw) // 2
        signature = utils.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
        try:
            self._public.verify(signature, bytes(data), signature_algorithm)
        except InvalidSignature:
            raise KeysOutOfReach(
                f"the token {self._token.label} signs wrongly, or with another key. Nothing was signed. Look at the "
                "HSM itself.", code="hsm-failed",
            ) from None  # fmt: skip
        return signature

    def answers(self) -> None:
        """Returns where the key is there to be used now. Raises KeysOutOfReach as `sign` does."""
        with self._its_code():
            answers(self._token, self.place)

    @contextlib.contextmanager
    def _its_code(self) -> Iterator[None]:
        try:
            yield
        except KeysOutOfReach as error:
            raise KeysOutOfReach(str(error), code=self._away or error.code) from error

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        _no_use()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        _no_use()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 - the name that `cryptography` gives it
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        _no_use()

    def __copy__(self) -> SigningKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> SigningKey:
        return self


def make_signing_key(token: Token, label: str, away: str | None = None) -> SigningKey:
    """A new P-256 key pair in the token, durable when this returns. Raises KeysOutOfReach as `Token.run`, and
    `hsm-key-extractable`."""

    def make(session: pkcs11.Session) -> tuple[bytes, bytes]:
        identity = secrets.token_bytes(16)  # here, as for a key that wraps
        curve = session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        public, private = curve.generate_keypair(
            id=identity, label=label, store=True, capabilities=MechanismFlag.SIGN, public_template=_ITS_WORD,
            private_template=_OURS | _ITS_WORD,
        )  # fmt: skip
        _refuse_extractable(private, token.label)
        return identity, bytes(public[Attribute.EC_POINT])

    identity, point = token.run(make)
    place = KeyPlace(token.label, token.serial(), identity, _SIGNS.name)
    # CKA_EC_POINT is a DER octet string (PKCS #11 v2.40, 2.3.3): 04 41 before the 65 bytes of the point.
    return SigningKey(token, place, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-65:]), away)


def signing_key(tokens: Tokens, place: KeyPlace, public: object, away: str | None = None) -> SigningKey:
    """A key that was made before, whose public half a certificate knows. Asks nothing of the token yet."""
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InvalidInput("a token signs with P-256 here", code="token-key-form")
    return SigningKey(tokens.get(place.token), place, public, away)


def _no_use() -> NoReturn:
    raise UnsupportedAlgorithm("a key in a token signs, and does nothing else")


def _objects(session: pkcs11.Session, identity: bytes) -> list[pkcs11.Object]:
    return list(session.get_objects({Attribute.ID: identity}))


def _wrapping(session: pkcs11.Session, place: KeyPlace) -> pkcs11.SecretKey:
    return session.get_key(object_class=ObjectClass.SECRET_KEY, id=place.key)  # type: ignore[return-value]


def _wrap_mechanism(session: pkcs11.Session, label: str) -> Mechanism:
    known = session.token.slot.get_mechanisms()
    for mechanism in _WRAPS:
        if mechanism in known:
            return mechanism
    raise KeysOutOfReach(
        f"the token {label} has none of the mechanisms CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP and "
        "CKM_AES_KEY_WRAP_PAD, so no key-encryption key can live there. Nothing was changed. Another HSM or firmware "
        "is needed, or the key stays in its file.", code="hsm-mechanism-missing",
    )  # fmt: skip


def _mechanism(place: KeyPlace) -> Mechanism:
    found = {each.name: each for each in _WRAPS}.get(place.mechanism)
    if found is None:
        raise InvalidInput("a key that wraps by an unknown mechanism", code="token-key-form")
    return found


def _wrap(session: pkcs11.Session, key: pkcs11.SecretKey, mechanism: Mechanism, seed: bytes) -> bytes:
    held = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.VALUE: seed,
            **_SEED,
        }
    )
    try:
        return bytes(key.wrap_key(held, mechanism=mechanism))  # type: ignore[attr-defined]
    finally:
        held.destroy()


def _unwrap(session: pkcs11.Session, key: pkcs11.SecretKey, mechanism: Mechanism, wrapped: bytes) -> bytes:
    held = key.unwrap_key(  # type: ignore[attr-defined]
        ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, wrapped, mechanism=mechanism, store=False,
        template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
    )  # fmt: skip
    try:
        return bytes(held[Attribute.VALUE])
    finally:
        held.destroy()


def _try(session: pkcs11.Session, key: pkcs11.SecretKey, mechanism: Mechanism, label: str) -> None:
    probe = secrets.token_bytes(32)
    try:
        good = _unwrap(session, key, mechanism, _wrap(session, key, mechanism, probe)) == probe
    except said.PKCS11Error:
        good = False
    if not good:
        key.destroy()
        raise KeysOutOfReach(
            f"the token {label} does not give back what it wrapped by CKM_{mechanism.name}. Nothing was changed. "
            "Its policy may forbid secrets that are brought to it or taken out.", code="hsm-mechanism-missing",
        )  # fmt: skip


def _refuse_extractable(key: pkcs11.Object, label: str) -> None:
    """Read back, not believed (PKCS #11 v2.40, 4.9: what a key has always been)."""
    held = not key[Attribute.EXTRACTABLE] and key[Attribute.NEVER_EXTRACTABLE] and key[Attribute.SENSITIVE]
    if not (held and key[Attribute.LOCAL]):
        key.destroy()
        raise KeysOutOfReach(
            f"the token {label} made a key that could be taken out of it; it was destroyed. Nothing was changed.",
            code="hsm-key-extractable",
        )
