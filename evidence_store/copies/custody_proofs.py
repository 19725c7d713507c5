"""Each custody entry against the ledger: its proof, its nonce, the ledger's certificate."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from evidence_store.errors import ChainBroken, SignatureInvalid, Tampered
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteVerifier
from evidence_store.ledger.proof import Proof


def ledger_verifier(certificate: x509.Certificate, note: bytes) -> NoteVerifier:
    """The certificate's Ed25519 key under the origin that the note names: the key is what is trusted.

    Raises SignatureInvalid for a certificate of another kind, InvalidInput for what is no note.
    """
    key = certificate.public_key()
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SignatureInvalid("the ledger's key is not Ed25519", code="signature-kind")
    return NoteVerifier(Note.parse(note).text.split("\n", 1)[0], key.public_bytes_raw())


def check_entry(proof_text: bytes, nonce: bytes, body: bytes, certificate: x509.Certificate) -> tuple[int, int]:
    """Index of the entry and size of the tree it is proven in. Raises Tampered, with the index in its words."""
    proof = Proof.parse(proof_text)
    if proof.extra != nonce:
        raise ChainBroken(f"custody entry {proof.index}: its nonce is not its proof's", code="inclusion-proof")
    try:
        checkpoint = proof.verify_body(body, ledger_verifier(certificate, proof.checkpoint))
    except Tampered as error:
        raise type(error)(f"custody entry {proof.index}: {error}", code=error.code) from error
    return proof.index, checkpoint.size


def head_of(proof_text: bytes) -> Checkpoint:
    """The tree's head that a proof, checked before, leads to."""
    return Checkpoint.parse(Note.parse(Proof.parse(proof_text).checkpoint).text)
