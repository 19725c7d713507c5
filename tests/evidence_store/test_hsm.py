"""Keys in a real PKCS#11 token (SoftHSM): what it does for us, what it keeps to itself, what happens without it."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pkcs11
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store import domains
from evidence_store.authority import load_or_create
from evidence_store.copies.cms import check_cms
from evidence_store.errors import InvalidInput, KeysOutOfReach, Tampered, VidneError
from evidence_store.hsm import keys as hsm
from evidence_store.hsm import token as tokens
from evidence_store.hsm.token import Token, TokenPlace, Tokens
from evidence_store.kek import KeyEncryptionKeys
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.keys import PrivateKey
from tests.soft_hsm import MODULE, PIN, SoftHsm

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return SoftHsm.create(tmp_path_factory.mktemp("hsm") / "soft", "house", "other")


@pytest.fixture
def soft(kept: SoftHsm, tmp_path: Path) -> SoftHsm:
    """Tokens of each test's own."""
    return kept.copy(tmp_path / "soft").use()


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(VidneError) as refused:
        work()
    assert "Nothing" in str(refused.value), "it says what is safe"
    return refused.value.code


def object_of(place: hsm.KeyPlace, kind: pkcs11.ObjectClass) -> pkcs11.Object:
    session = pkcs11.lib(str(MODULE)).get_token(token_label=place.token).open(user_pin=PIN)
    return session.get_key(object_class=kind, id=place.key)


def test_a_seed_goes_in_and_out_as_by_rfc_3394_and_the_key_never_leaves(soft: SoftHsm) -> None:
    token = soft.token("house")
    place = hsm.make_wrapping_key(token, "vidne kek-2")
    assert place.mechanism == "AES_KEY_WRAP"
    assert hsm.KeyPlace.decode(place.encode()) == place
    seed = PrivateKey.generate().seed
    wrapped = hsm.wrap(token, place, seed)
    assert len(wrapped) == 40
    assert seed not in wrapped
    assert hsm.unwrap(soft.token("house"), place, wrapped) == seed
    soft.use()
    key = object_of(place, pkcs11.ObjectClass.SECRET_KEY)
    with pytest.raises(pkcs11.AttributeSensitive):
        key[pkcs11.Attribute.VALUE]
    assert soft.labels("house") == ["vidne kek-2"], "no seed stays in the token"


@pytest.mark.parametrize("spoilt", [bytes(40), b"", bytes(41), bytes(32)])
def test_a_wrap_that_does_not_open_is_tampering_and_not_a_broken_hsm(soft: SoftHsm, spoilt: bytes) -> None:
    token = soft.token("house")
    place = hsm.make_wrapping_key(token, "vidne kek-2")
    with pytest.raises(Tampered) as error:
        hsm.unwrap(token, place, spoilt)
    assert error.value.code == "seed-invalid"
    other = hsm.make_wrapping_key(token, "vidne kek-3")
    with pytest.raises(Tampered):
        hsm.unwrap(token, place, hsm.wrap(token, other, bytes(32)))


def test_a_key_in_a_token_signs_certificates_cms_and_records_like_one_in_a_file(soft: SoftHsm) -> None:
    root_key = hsm.make_signing_key(soft.token("house"), "vidne root")
    store_key = hsm.make_signing_key(soft.token("house"), "vidne store")
    root = certs.issue(certs.ROOT, root_key.public_key(), None, root_key, NOW, path_length=1)
    store = certs.issue(certs.STORE, store_key.public_key(), root, root_key, NOW)
    certs.check_issued(store, root, certs.STORE)
    check_cms(b"a manifest", certs.sign_cms(store_key, store, [root], b"a manifest"), store, root)
    signature = certs.sign(store_key, domains.INTERVIEW_KEY_SIGNATURE, b"message")
    certs.check_signature(store, domains.INTERVIEW_KEY_SIGNATURE, b"message", signature)
    later = hsm.signing_key(Tokens([soft.place("house")]), store_key.place, store.public_key())
    certs.check_signature(store, domains.TICK_SIGNATURE, b"x", certs.sign(later, domains.TICK_SIGNATURE, b"x"))

    soft.use()
    key = object_of(store_key.place, pkcs11.ObjectClass.PRIVATE_KEY)
    with pytest.raises(pkcs11.AttributeSensitive):
        key[pkcs11.Attribute.VALUE]
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for no_use in (
        lambda: store_key.private_bytes(*form), store_key.private_numbers,
        lambda: store_key.exchange(ec.ECDH(), root_key.public_key()),
        lambda: store_key.sign(b"x", ec.ECDSA(hashes.SHA512())),
    ):  # fmt: skip
        with pytest.raises(UnsupportedAlgorithm):
            no_use()


def test_a_token_that_signs_with_another_key_is_refused(soft: SoftHsm) -> None:
    first, second = (hsm.make_signing_key(soft.token("house"), f"vidne {name}") for name in ("a", "b"))
    swapped = hsm.SigningKey(soft.token("house"), second.place, first.public_key())
    assert refusal(lambda: swapped.sign(b"x", ec.ECDSA(hashes.SHA256()))) == "hsm-failed"


@pytest.mark.parametrize("lost", ["session closed", "logged out", "module begun anew", "token pulled and put back"])
def test_a_lost_session_is_opened_again_and_nobody_notices(soft: SoftHsm, lost: str) -> None:
    first, token = soft.token("house"), soft.token("house")
    place = hsm.make_wrapping_key(first, "vidne kek-2")
    wrapped = hsm.wrap(token, place, bytes(32))
    assert first._session is not None
    assert token._session is not None
    if lost == "session closed":
        token._session.close()
    elif lost == "logged out":
        first._session.close()  # the login is the process's: it ends for the second too, whose session stays
    elif lost == "module begun anew":
        pkcs11.lib(str(MODULE)).reinitialize()
    else:
        away = soft.folder / "away"
        (soft.folder / "tokens").rename(away)
        (soft.folder / "tokens").mkdir()
        soft.use()
        assert refusal(lambda: hsm.wrap(token, place, bytes(32))) == "hsm-token-missing"
        (soft.folder / "tokens").rmdir()
        away.rename(soft.folder / "tokens")
    assert hsm.unwrap(token, place, wrapped) == bytes(32)


@pytest.mark.parametrize("kind", ["wraps", "signs"])
def test_a_session_lost_just_after_a_key_was_made_leaves_a_stray_and_no_second_key_of_the_same_id(
    soft: SoftHsm, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    token = soft.token("house")
    token.serial()
    plain, lost = hsm._refuse_extractable, [pkcs11.DeviceError()]

    def once(key: pkcs11.Object, label: str) -> None:
        if lost:
            raise lost.pop()
        plain(key, label)

    monkeypatch.setattr(hsm, "_refuse_extractable", once)
    if kind == "wraps":
        place = hsm.make_wrapping_key(token, "vidne kek-2")
        assert hsm.unwrap(token, place, hsm.wrap(token, place, bytes(32))) == bytes(32)
        assert hsm.strays(token, {place.key}) == ["vidne kek-2"]
    else:
        assert hsm.make_signing_key(token, "vidne root").sign(b"x", ec.ECDSA(hashes.SHA256()))
    assert len(soft.labels("house")) == 2


def test_a_wrong_pin_is_given_once_and_the_right_one_as_soon_as_its_file_has_it(
    soft: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    (soft.folder / "pin").write_text("31415926\n")
    token = soft.token("house")
    found: list[int] = []
    plain = Token._found

    def counted(self: Token) -> pkcs11.Token:
        found.append(1)
        return plain(self)

    monkeypatch.setattr(Token, "_found", counted)
    for _ in range(3):
        assert refusal(lambda: hsm.make_wrapping_key(token, "vidne kek-2")) == "hsm-pin-wrong"
    assert len(found) == 1, "three wrong PINs lock many a token"
    (soft.folder / "pin").write_text(PIN)
    assert hsm.make_wrapping_key(token, "vidne kek-2")
    (soft.folder / "pin").unlink()
    soft.use()
    assert refusal(lambda: hsm.make_wrapping_key(token, "vidne kek-3")) == "hsm-pin-missing"


def test_what_is_not_there_is_named(soft: SoftHsm, tmp_path: Path) -> None:
    pin = soft.folder / "pin"
    nowhere = Token(TokenPlace(tmp_path / "no.so", "house", pin))
    assert refusal(nowhere.serial) == "hsm-module-missing"
    assert refusal(Token(TokenPlace(MODULE, "nobody", pin)).serial) == "hsm-token-missing"
    soft.add("house")
    assert refusal(soft.token("house").serial) == "hsm-token-missing", "two of one label"
    assert refusal(lambda: Tokens([soft.place("other")]).get("house")) == "hsm-not-configured"
    with pytest.raises(InvalidInput):
        Tokens([soft.place("other"), soft.place("other")])


def test_a_token_without_key_wrapping_is_refused_by_the_mechanisms_name(
    soft: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hsm, "_WRAPS", (pkcs11.Mechanism.AES_KEY_WRAP_KWP,))  # what SoftHSM lacks
    with pytest.raises(KeysOutOfReach, match="CKM_AES_KEY_WRAP") as error:
        hsm.make_wrapping_key(soft.token("house"), "vidne kek-2")
    assert error.value.code == "hsm-mechanism-missing"
    assert soft.labels("house") == []


def test_a_first_start_with_an_unfit_hsm_is_followed_by_one_without(
    soft: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hsm, "_WRAPS", (pkcs11.Mechanism.AES_KEY_WRAP_KWP,))
    folder = tmp_path / "keys"
    with pytest.raises(KeysOutOfReach):
        load_or_create(folder, NOW, Tokens([soft.place("house")]))
    made = load_or_create(folder, NOW)
    made.answers()
    certs.check_signature(
        made.store, domains.TICK_SIGNATURE, b"x", certs.sign(made.store_key, domains.TICK_SIGNATURE, b"x")
    )
    assert list(folder.glob("*.hsm")) == []


def test_a_key_that_could_be_taken_out_is_refused_and_destroyed(soft: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    lax = {pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: True}
    monkeypatch.setattr(hsm, "_OURS", lax)
    for make in (hsm.make_wrapping_key, hsm.make_signing_key):
        assert refusal(lambda make=make: make(soft.token("house"), "vidne x")) == "hsm-key-extractable"  # type: ignore[misc]
    soft.use()
    assert soft.labels("house") == []


def test_a_module_that_hangs_holds_nobody_up_for_longer_than_it_may(soft: SoftHsm) -> None:
    token = Token(soft.place("house"), within_s=0.2)
    token.serial()
    let_go = threading.Event()
    began = time.monotonic()
    assert refusal(lambda: token.run(lambda _session: let_go.wait(20))) == "hsm-silent"
    assert refusal(token.serial) == "hsm-silent"
    assert time.monotonic() - began < 5
    let_go.set()
    stuck = tokens._caller(MODULE)._stuck
    assert stuck is not None
    stuck.result(10)
    assert token.serial(), "it answers again, and is asked again"


def test_a_key_is_destroyed_in_its_token_and_one_in_another_device_is_not_called_gone(
    soft: SoftHsm, tmp_path: Path
) -> None:
    keks = KeyEncryptionKeys(tmp_path, Tokens([soft.place("house")]))
    assert keks.add() == "file"
    assert [keks.add(soft.token("house")), keks.add(soft.token("house"))] == ["kek-2", "kek-3"]
    assert keks.ids() == ["file", "kek-2", "kek-3"]
    keks.destroy("kek-2")
    assert keks.ids() == ["file", "kek-3"]
    assert soft.labels("house") == ["vidne kek-3"]
    place = keks.place("kek-3")
    assert place is not None
    hsm.destroy(soft.token("house"), place)
    assert refusal(keks.answers) == "hsm-key-missing"
    foreign = hsm.KeyPlace(place.token, "another", place.key, place.mechanism)
    assert refusal(lambda: hsm.destroy(soft.token("house"), foreign)) == "hsm-other-device"
    keks.destroy("kek-3")  # a crash came between key and file
    assert keks.ids() == ["file"]
    assert keks.add(None, ["kek-5", "file"]) == "kek-6", "never the id of one that wraps name"


@pytest.mark.parametrize("blind", ["logged out", "a session of another token"])
def test_a_key_is_not_called_gone_by_a_session_that_cannot_see_it(soft: SoftHsm, blind: str) -> None:
    first, token, other = soft.token("house"), soft.token("house"), soft.token("other")
    place = hsm.make_wrapping_key(first, "vidne kek-2")
    hsm.answers(token, place)
    other.serial()
    if blind == "logged out":
        assert first._session is not None
        first._session.close()  # the login is the process's: it ends for the second too
    else:
        token._session = other._session
    hsm.destroy(token, place)
    assert soft.labels("house") == []
    hsm.destroy(token, place)  # destroyed before


@pytest.mark.parametrize(
    "spoilt", [b"", b"{}", b'{"key":"zz","mechanism":"x","serial":"","token":"t","type":"vidne/token-key/1"}']
)
def test_the_name_of_a_key_is_read_strictly(spoilt: bytes) -> None:
    with pytest.raises(InvalidInput):
        hsm.KeyPlace.decode(spoilt)
