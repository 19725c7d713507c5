"""A copy of the vault on an empty machine: a folder that is read and never written, and what it proves of itself.

The one thing that has to be known from elsewhere is the root certificate's fingerprint. Everything else that signs is
found in the copy and held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import pkcs7

from evidence_store.authority import CERTIFICATES
from evidence_store.errors import ChainBroken, InvalidInput, NotFound, SignatureInvalid, VidneError
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteVerifier
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.check import Start, check_start
from evidence_store.vault.vault import check_name

_CHECKPOINTS: Final = "ledger/checkpoints/"


class CopiedVault:
    """Objects by name in `folder`, which is a vault's own or its `objects`. Raises InvalidInput where it is neither."""

    def __init__(self, folder: Path) -> None:
        inner = folder / "objects"
        self._folder = inner if inner.is_dir() else folder
        if not self._folder.is_dir():
            raise InvalidInput("no such folder", code="vault-copy")

    def get(self, name: str) -> bytes:
        check_name(name)
        try:
            return (self._folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"{name} is not in this copy", code="object") from None

    def names(self, under: str) -> list[str]:
        """Every object under a folder of the vault, by name."""
        found = (path for path in (self._folder / under).rglob("*") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in found)


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signatures the copy may bear. A copy without one of them still gives its media, checked up to the root."""

    root: x509.Certificate
    found: list[x509.Certificate]

    def issued(self, name: str) -> x509.Certificate:
        """The certificate of that name, issued by the root. Raises SignatureInvalid `certificate-missing`."""
        for each in self.found:
            try:
                certs.check_issued(each, self.root, name)
            except SignatureInvalid:
                continue
            return each
        raise SignatureInvalid(f"the copy holds no certificate of {name}", code="certificate-missing")


def signers(vault: CopiedVault, fingerprint: str) -> Signers:
    """Raises SignatureInvalid: `root-unknown` where no certificate here has that fingerprint."""
    wanted = fingerprint.lower().replace(":", "").replace(" ", "")
    found = list(_certificates(vault))
    root = next((each for each in found if certs.fingerprint(each) == wanted), None)
    if root is None:
        raise SignatureInvalid("no certificate in this copy has that fingerprint", code="root-unknown")
    return Signers(root, found)


def _certificates(vault: CopiedVault) -> Iterator[x509.Certificate]:
    """Where they are kept; then those that signatures over manifests bring along, root among them."""
    for name in vault.names(CERTIFICATES):
        yield certs.from_der(vault.get(name))
    for name in vault.names("interviews"):
        if name.endswith(".p7s"):
            yield from pkcs7.load_der_pkcs7_certificates(vault.get(name))


def starts(vault: CopiedVault, root: x509.Certificate) -> Iterator[tuple[str, Start | VidneError]]:
    """Every take's start record in the copy by its name, checked; or what is wrong with it."""
    for name in vault.names("takes"):
        if name.endswith("/start.json"):
            try:
                yield name, check_start(vault.get(name), root)
            except VidneError as error:
                yield name, error


@dataclass(frozen=True, slots=True)
class Heads:
    """The ledger's checkpoints in the copy, by size."""

    by_size: dict[int, Checkpoint]
    opened: Callable[[bytes], Checkpoint]

    @property
    def greatest(self) -> int:
        return max(self.by_size, default=0)


def heads(vault: CopiedVault, ledger: x509.Certificate) -> Heads:
    """Every checkpoint in the copy, its signature checked. Raises SignatureInvalid, InvalidInput, ChainBroken."""

    def opened(note: bytes) -> Checkpoint:
        key = ledger.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureInvalid("the ledger signs with Ed25519", code="signature-kind")
        origin = Checkpoint.parse(Note.parse(note).text).origin
        return Checkpoint.open(note, NoteVerifier(origin, key.public_bytes_raw()))

    found = {}
    for name in vault.names(_CHECKPOINTS):
        head = opened(vault.get(name))
        if name != f"{_CHECKPOINTS}{head.size:012d}":
            raise ChainBroken("a checkpoint lies under another's name", code="checkpoint-misplaced")
        found[head.size] = head
    return Heads(found, opened)


def remembered(known: Heads, note: bytes) -> str:
    """Holds a checkpoint that somebody else kept against the copy. In words what that shows.

    Raises ChainBroken where the copy is older than it or of another ledger; SignatureInvalid, InvalidInput.
    """
    head = known.opened(note)
    here = known.by_size.get(head.size)
    if here is not None and here.root != head.root:
        raise ChainBroken("the copy has another ledger than was remembered", code="ledger-rewritten")
    if head.size > known.greatest:
        raise ChainBroken(
            f"the copy ends at ledger size {known.greatest}, older than the {head.size} that is remembered: "
            "look for a later copy",
            code="vault-copy-old",
        )
    if here is None:
        return f"signed by this house at size {head.size}; the copy goes on to {known.greatest}, without that one"
    return f"the copy has the remembered head at size {head.size}, and goes on to {known.greatest}"
