from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteSignature, NoteSigner, NoteVerifier

# The example of Go's sumdb/note, whose format C2SP signed-note specifies.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
# The examples of tlog-checkpoint and tlog-cosignature: parsed only, their keys are not published.
CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()
ROOT = bytes(range(32))


def go_signer() -> NoteSigner:
    return NoteSigner("PeterNeumann", Ed25519PrivateKey.from_private_bytes(base64.b64decode(SKEY)[1:]))


def test_published_note_is_verified_and_made_again_byte_for_byte() -> None:
    key = NoteVerifier.parse(VKEY)
    note = Note.parse(NOTE)
    note.verify([key])
    assert (note.text, note.write(), str(key)) == (TEXT, NOTE, VKEY)
    assert Note(TEXT, (go_signer().sign(TEXT),)).write() == NOTE


@pytest.mark.parametrize("data", [NOTE, CHECKPOINT])
def test_parse_then_write_gives_the_input(data: bytes) -> None:
    assert Note.parse(data).write() == data


def test_published_checkpoint_is_read() -> None:
    note = Note.parse(CHECKPOINT)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert checkpoint.text() == note.text
    assert [s.name for s in note.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]


def test_signed_checkpoint_opens_with_its_key_only(signer: NoteSigner) -> None:
    checkpoint = Checkpoint(signer.verifier.name, 7, ROOT)
    note = checkpoint.signed(signer).write()
    assert Checkpoint.open(note, signer.verifier) == checkpoint
    stranger = NoteSigner(signer.verifier.name, Ed25519PrivateKey.generate()).verifier
    with pytest.raises(SignatureInvalid) as refused:
        Checkpoint.open(note, stranger)
    assert refused.value.code == "note-unsigned"


def test_cosignatures_are_kept_and_ignored(signer: NoteSigner) -> None:
    note = Checkpoint(signer.verifier.name, 7, ROOT).signed(signer)
    both = note.with_signature(NoteSignature("witness.example/w1", b"\x01\x02\x03\x04", bytes(72))).write()
    assert both.startswith(note.write())
    assert Checkpoint.open(both, signer.verifier).size == 7
    assert Note.parse(both).write() == both


def test_every_flipped_byte_is_noticed(signer: NoteSigner) -> None:
    note = Checkpoint(signer.verifier.name, 7, ROOT).signed(signer).write()
    for at in range(len(note)):
        broken = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        with pytest.raises((InvalidInput, SignatureInvalid)):
            Checkpoint.open(broken, signer.verifier)


def test_checkpoint_of_another_log_is_refused(signer: NoteSigner) -> None:
    note = Checkpoint("example.org/other", 7, ROOT).signed(signer).write()
    with pytest.raises(SignatureInvalid) as refused:
        Checkpoint.open(note, signer.verifier)
    assert refused.value.code == "checkpoint-origin"


SIGNATURE = "— a AQIDBAU=\n"


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "no_signatures": b"text\n\n",
        "no_blank_line": ("text\n" + SIGNATURE).encode(),
        "no_last_newline": ("text\n\n" + SIGNATURE).encode()[:-1],
        "control_character": ("te\txt\n\n" + SIGNATURE).encode(),
        "carriage_return": ("text\r\n\n" + SIGNATURE).encode(),
        "not_utf8": b"\xff\n\n" + SIGNATURE.encode(),
        "hyphen_for_dash": b"text\n\n- a AQIDBAU=\n",
        "name_missing": "text\n\n—  AQIDBAU=\n".encode(),
        "name_with_plus": "text\n\n— a+b AQIDBAU=\n".encode(),
        "name_with_wide_space": "text\n\n— a\u00a0b AQIDBAU=\n".encode(),
        "base64_unpadded": "text\n\n— a AQIDBAU\n".encode(),
        "base64_of_another_form": "text\n\n— a AQIDBAV=\n".encode(),
        "base64_url": "text\n\n— a AQID_AU=\n".encode(),
        "key_id_alone": "text\n\n— a AQIDBA==\n".encode(),
        "text_behind_signatures": ("text\n\n" + SIGNATURE + "more\n").encode(),
        "too_many_signatures": ("text\n\n" + SIGNATURE * 65).encode(),
        "too_large": b"x" * 600_000 + ("\n\n" + SIGNATURE).encode(),
    }.items(),
    ids=lambda item: item[0],
)
def test_malformed_notes(data: tuple[str, bytes]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Note.parse(data[1])
    assert refused.value.code == "note-form"


ROOT_TEXT = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n7\n" + ROOT_TEXT + "\n",
        "a\n07\n" + ROOT_TEXT + "\n",
        "a\n-7\n" + ROOT_TEXT + "\n",
        "a\n+7\n" + ROOT_TEXT + "\n",
        "a\n7 \n" + ROOT_TEXT + "\n",
        "a\n9223372036854775808\n" + ROOT_TEXT + "\n",
        "a\n7\n" + ROOT_TEXT[:-4] + "\n",
        "a\n7\n" + ROOT_TEXT,
        "a\n7\n",
        "a\n7\n" + ROOT_TEXT + "\n\nextension\n",
        "a\n७\n" + ROOT_TEXT + "\n",
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Checkpoint.parse(text)
    assert refused.value.code == "checkpoint-form"


def test_extension_lines_are_kept() -> None:
    text = f"a\n0\n{ROOT_TEXT}\nmore\n"
    assert Checkpoint.parse(text).extensions == ("more",)
    assert Checkpoint.parse(text).text() == text


def test_malformed_verifier_keys() -> None:
    for at in range(len(VKEY)):
        with pytest.raises(InvalidInput):
            NoteVerifier.parse(VKEY[:at] + chr(ord(VKEY[at]) + 1) + VKEY[at + 1 :])
        with pytest.raises(InvalidInput):
            NoteVerifier.parse(VKEY[:at])
