from __future__ import annotations

import pytest

from evidence_store.errors import ChainBroken, InvalidInput, SignatureInvalid
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner
from evidence_store.ledger.proof import Proof, leaf_data

NONCE, BODY = bytes(32), b'{"type":"sample"}'


def make(signer: NoteSigner, size: int = 6, index: int = 4) -> Proof:
    leaves = [merkle.leaf_hash(leaf_data(NONCE, BODY if k == index else b"%d" % k)) for k in range(size)]
    nodes = {(level, at): value for level, at, value in merkle.completed_nodes(0, leaves, merkle.reader({}))}
    node = merkle.reader(nodes)
    note = Checkpoint(signer.verifier.name, size, merkle.root(size, node)).signed(signer).write()
    return Proof(index, tuple(merkle.inclusion_proof(index, size, node)), note, NONCE)


def test_leaf_data_byte_for_byte() -> None:
    assert leaf_data(NONCE, b"{}").hex() == LEAF_OF_EMPTY_OBJECT


# sha256(b"vidne/v1/ledger-body" + b"\0" + bytes(32) + b"{}")
LEAF_OF_EMPTY_OBJECT = "73dc2ac82da7e984a235c9e5ac6f4e2bc138c829fc45871792d3d8a663c46627"


@pytest.mark.parametrize(("size", "index"), [(1, 0), (2, 1), (6, 4), (6, 5), (8, 0)])
def test_written_parsed_verified(signer: NoteSigner, size: int, index: int) -> None:
    proof = make(signer, size, index)
    data = proof.write()
    assert Proof.parse(data) == proof
    assert Proof.parse(data).write() == data
    assert Proof.parse(data).verify_body(BODY, signer.verifier).size == size


def test_without_extra_data(signer: NoteSigner) -> None:
    full = make(signer)
    bare = Proof(full.index, full.hashes, full.checkpoint)
    assert Proof.parse(bare.write()) == bare
    assert b"extra" not in bare.write()
    assert bare.verify(leaf_data(NONCE, BODY), signer.verifier).size == 6
    with pytest.raises(ChainBroken):
        bare.verify_body(BODY, signer.verifier)


def test_text_is_that_of_the_specification(signer: NoteSigner) -> None:
    lines = make(signer).write().decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "extra " + "A" * 43 + "="
    assert lines[2] == "index 4"
    assert lines[5] == ""
    assert lines[6:8] == ["example.org/vidne", "6"]
    assert lines[-1] == ""


def test_another_body_nonce_or_log_is_refused(signer: NoteSigner) -> None:
    proof = make(signer)
    with pytest.raises(ChainBroken):
        proof.verify_body(BODY + b" ", signer.verifier)
    with pytest.raises(ChainBroken):
        Proof(proof.index, proof.hashes, proof.checkpoint, b"\x01" * 32).verify_body(BODY, signer.verifier)
    with pytest.raises(ChainBroken):
        Proof(3, proof.hashes, proof.checkpoint, NONCE).verify_body(BODY, signer.verifier)
    resigned = with_another_size(proof.checkpoint)
    with pytest.raises(SignatureInvalid):
        Proof(proof.index, proof.hashes, resigned, NONCE).verify_body(BODY, signer.verifier)


def with_another_size(note: bytes) -> bytes:
    return note.replace(b"\n6\n", b"\n7\n", 1)


HEAD = "c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(
    "head",
    {
        "empty": "",
        "other_version": "c2sp.org/tlog-proof@v2\nindex 0\n",
        "index_missing": HEAD,
        "index_with_leading_zero": HEAD + "index 01\n",
        "index_negative": HEAD + "index -1\n",
        "index_too_large": HEAD + "index 9223372036854775808\n",
        "extra_behind_index": HEAD + "index 0\nextra AAAA\n",
        "extra_not_base64": HEAD + "extra AAA\nindex 0\n",
        "extra_twice": HEAD + "extra AAAA\nextra AAAA\nindex 0\n",
        "hash_too_short": HEAD + "index 0\nAAAA\n",
        "too_many_hashes": HEAD + "index 0\n" + ("A" * 43 + "=\n") * 64,
        "not_ascii": HEAD + "index ०\n",
    }.items(),
    ids=lambda item: item[0],
)
def test_malformed_proofs(signer: NoteSigner, head: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Proof.parse(head[1].encode() + b"\n" + make(signer).checkpoint)
    assert refused.value.code == "proof-form"


def test_a_nonce_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput):
        leaf_data(bytes(31), BODY)
