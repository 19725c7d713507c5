"""Our own reading of CMS and RFC 3161 against two that are not ours: OpenSSL, and rfc3161-client's.

What we accept, they accept; what they refuse, we refuse. Where we refuse alone, it is said here.
"""

from __future__ import annotations

import datetime
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from evidence_store import der
from evidence_store.copies.cms import check_cms
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.stamps.asking import request
from evidence_store.stamps.stamp import TimeAuthority as Known
from evidence_store.stamps.stamp import authority_from_pem, check
from tests.attacks.test_time import FORGERIES
from tests.copies.conftest import Made
from tests.time_authority import DAY, PEM, Leaf, TimeAuthority, certificate

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

DATA = b"what is stamped"


def ours(response: bytes, known: Known) -> str:
    try:
        check(response, DATA, known)
    except SignatureInvalid as error:
        return error.code
    return ""


def theirs(response: bytes, known: Known) -> bool:
    """rfc3161-client's word, which looks neither at the status' words nor at a nonce."""
    try:
        parsed = decode_timestamp_response(response)
        verifier = VerifierBuilder(roots=[known.anchor], intermediates=list(known.between)).build()
        return verifier.verify(parsed, hashlib.sha256(DATA).digest())
    except (VerificationError, ValueError, TypeError):
        return False


def openssl(authority: TimeAuthority, response: bytes, at: int | None = None) -> bool:
    (authority.folder / "data").write_bytes(DATA)
    (authority.folder / "response").write_bytes(response)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "response", "-CAfile", "authority.pem"]
    command += [] if at is None else ["-attime", str(at // 10**9)]
    return subprocess.run(command, cwd=authority.folder, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimeAuthority:
    return TimeAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def known(authority: TimeAuthority) -> Known:
    return authority_from_pem(authority.pem.read_bytes())


def test_a_good_stamp_is_good_to_all_three(authority: TimeAuthority, known: Known) -> None:
    response = authority.reply(request(DATA).der)
    stamp = check(response, DATA, known)
    parsed = decode_timestamp_response(response).tst_info
    assert (stamp.nonce, stamp.serial) == (parsed.nonce, parsed.serial_number)
    assert datetime.datetime.fromtimestamp(stamp.time / 10**9, datetime.UTC) == parsed.gen_time
    assert theirs(response, known)
    assert openssl(authority, response)


@pytest.mark.parametrize("defect", sorted(set(FORGERIES) - {"answer_to_another_request"}))
def test_a_forged_stamp_is_good_to_none(authority: TimeAuthority, known: Known, defect: str) -> None:
    answer, code = FORGERIES[defect]
    response = answer(authority, request(DATA).der)
    assert ours(response, known) == code
    if defect not in {"leaf_with_two_purposes", "ca_leaf"}:  # rfc3161-client lets an authority's own key stamp
        assert not theirs(response, known)


def test_of_every_flipped_bit_ours_is_the_stricter_reading(authority: TimeAuthority, known: Known) -> None:
    response = authority.reply(request(DATA).der)
    accepted = []
    for at in range(len(response)):
        for bit in (0x01, 0x80):
            spoilt = bytearray(response)
            spoilt[at] ^= bit
            if not ours(bytes(spoilt), known):
                accepted.append(bytes(spoilt))
    # In the list of hashes that the token announces, and that nobody goes by: the signer's own counts.
    assert len(accepted) <= 40, len(accepted)
    assert all(theirs(each, known) or openssl(authority, each) for each in accepted)


@pytest.mark.parametrize("kind", ["rsa", "p384", "sha1-name", "fraction"])
def test_other_kinds_of_authority(tmp_path: Path, kind: str) -> None:
    """Keys and forms that real authorities use, each by OpenSSL itself."""
    made = TimeAuthority(tmp_path / kind)
    if kind in ("rsa", "p384"):
        key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
        signer = certificate("another", key.public_key(), made.root, made.root_key, Leaf())  # type: ignore[arg-type]
        (made.folder / "signer.pem").write_bytes(signer.public_bytes(PEM[0]))
        (made.folder / "signer.key").write_bytes(key.private_bytes(*PEM))
    place, text = made.folder / "tsa.cnf", (made.folder / "tsa.cnf").read_text()
    if kind == "sha1-name":
        place.write_text(text.replace("ess_cert_id_alg = sha256", "ess_cert_id_alg = sha1"))
    if kind == "fraction":
        place.write_text(text + "clock_precision_digits = 3\n")
    known, response = authority_from_pem(made.pem.read_bytes()), made.reply(request(DATA).der)
    assert ours(response, known) == ""
    assert theirs(response, known)
    assert openssl(made, response)
    if kind == "fraction":
        assert check(response, DATA, known).time % 10**9


def test_an_authority_below_another_and_one_that_may_have_none_below_it(tmp_path: Path) -> None:
    made = TimeAuthority(tmp_path / "a")
    made.below("Between")
    known = authority_from_pem(made.pem.read_bytes())
    response = made.reply(request(DATA).der)
    assert ours(response, known) == ""
    assert theirs(response, known)
    # The same way up, with an anchor that may not have an authority below it.
    key = made.root_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(made.root.subject)
        .issuer_name(made.root.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(made.root.not_valid_before_utc)
        .not_valid_after(made.root.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    tight = Known(known.name, builder.sign(key, hashes.SHA256()), known.between)
    assert ours(response, tight) == "stamp-signature"
    assert not theirs(response, tight)


def test_a_stamp_that_names_another_certificate_of_the_same_issuer_and_number(
    authority: TimeAuthority, known: Known
) -> None:
    """The certificate is exchanged for one with the same issuer, number and key, and other rights: RFC 5816 is what
    notices, and rfc3161-client does not."""
    response = authority.reply(request(DATA).der)
    signer = authority.signer
    forged = (
        x509.CertificateBuilder()
        .subject_name(signer.subject)
        .issuer_name(signer.issuer)
        .public_key(authority.signer_key.public_key())
        .serial_number(signer.serial_number)
        .not_valid_before(signer.not_valid_before_utc - 900 * DAY)
        .not_valid_after(signer.not_valid_after_utc)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    )
    whole = forged.sign(authority.root_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    spoilt = exchanged(response, signer.public_bytes(serialization.Encoding.DER), whole)
    assert ours(spoilt, known) == "stamp-signer"
    assert not openssl(authority, spoilt)


def exchanged(response: bytes, before: bytes, after: bytes) -> bytes:
    """The same DER with one element in the place of another, lengths put right on the way up."""

    def walk(data: bytes) -> bytes:
        out = b""
        for each in der.elements(data):
            content = each.content
            if each.whole == before:
                out += after
                continue
            if before in content:
                content = walk(content)
            size = len(content)
            length = bytes((size,)) if size < 0x80 else b""
            if not length:
                octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
                length = bytes((0x80 | len(octets),)) + octets
            out += bytes((each.tag,)) + length + content
        return out

    return walk(response)


def test_of_every_flipped_bit_of_a_cms_signature_what_we_accept_openssl_accepts(made: Made, tmp_path: Path) -> None:
    name, certificates = "evidence/manifest.json", made.bag / "evidence/certificates"
    data, signature = (made.bag / name).read_bytes(), (made.bag / f"{name}.p7s").read_bytes()
    check_cms(data, signature, made.store.store, made.store.root)
    accepted = 0
    for at in range(len(signature)):
        spoilt = bytearray(signature)
        spoilt[at] ^= 1
        try:
            check_cms(data, bytes(spoilt), made.store.store, made.store.root)
        except SignatureInvalid:
            continue
        accepted += 1
        (tmp_path / "spoilt").write_bytes(spoilt)
        command = [
            "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(tmp_path / "spoilt"), "-content",
            str(made.bag / name), "-nointern", "-certfile", str(certificates / "store.pem"),
            "-CAfile", str(certificates / "root.pem"),
            "-purpose", "any", "-no_check_time", "-out", "/dev/null",
        ]  # fmt: skip
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0, at
    assert accepted < 60


@pytest.mark.parametrize(
    "data",
    [
        "", "30", "3080", "308000", "30820001aa", "3081", "1f0100", "30050201", "0000", "308500000000", "30818001",
    ],
)  # fmt: skip
def test_what_is_no_der(data: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        der.one(bytes.fromhex(data), der.SEQUENCE)
    assert caught.value.code == "der-form"


@pytest.mark.parametrize("data", ["0200", "02020001", "0202ff80", "060180", "06028001", "030100"])
def test_numbers_and_identifiers_have_one_form(data: str) -> None:
    element = der.Reader(bytes.fromhex(data)).next()
    with pytest.raises(InvalidInput):
        der.integer(element) if element.tag == der.INTEGER else der.oid(element)


def test_identifiers_are_read_as_everybody_reads_them() -> None:
    for text in ("2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.7.2", "0.9.2342", "2.999.3"):
        whole = bytes.fromhex(
            {
                "2.16.840.1.101.3.4.2.1": "0609608648016503040201",
                "1.2.840.113549.1.7.2": "06092a864886f70d010702",
                "0.9.2342": "0603099226",
                "2.999.3": "0603883703",
            }[text]
        )
        assert der.oid(der.Reader(whole).next()) == text


def usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=issues, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


BETWEEN: dict[str, tuple[str, list[tuple[x509.ExtensionType, bool]]]] = {
    "an_authority": ("", [(x509.BasicConstraints(True, None), True)]),
    "an_authority_with_room": ("", [(x509.BasicConstraints(True, 0), True), (usage(issues=True), True)]),
    "no_authority": ("stamp-signature", [(x509.BasicConstraints(False, None), True)]),
    "nothing_said": ("stamp-signature", []),
    "may_not_issue": ("stamp-signature", [(x509.BasicConstraints(True, None), True), (usage(issues=False), True)]),
    "for_web_servers": (
        "stamp-signature",
        [(x509.BasicConstraints(True, None), True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)],
    ),
    "what_nobody_knows": (
        "stamp-signature",
        [
            (x509.BasicConstraints(True, None), True),
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
        ],
    ),
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_who_may_stand_between_signer_and_anchor(tmp_path: Path, kind: str) -> None:
    made, key = TimeAuthority(tmp_path / "a"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Between")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(made.root.subject)
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(made.root.not_valid_before_utc)
        .not_valid_after(made.root.not_valid_after_utc)
    )
    code, extensions = BETWEEN[kind]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    between = builder.sign(made.root_key, hashes.SHA256())
    own = ec.generate_private_key(ec.SECP256R1())
    made.keep("signer", certificate("below", own.public_key(), between, key, Leaf()), own)
    known = Known("a", made.root, (between,))
    response = made.reply(request(DATA).der)
    assert ours(response, known) == code
    if not code:
        assert theirs(response, known)


def test_an_arc_that_nobody_was_given_is_refused_at_once() -> None:
    """A thousand octets of one number would take longer to write down in decimals than a whole token to check."""
    content = b"\x2b" + b"\xff" * 1_000 + b"\x7f"
    reader = der.Reader(b"\x06\x82" + len(content).to_bytes(2, "big") + content)
    with pytest.raises(InvalidInput):
        der.oid(reader.take(der.OID))
