"""A vault that is not where it was: a disk that is not mounted must not be taken for a new, empty vault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from evidence_store.durable import write_durably
from evidence_store.errors import OutOfReach
from evidence_store.vault.disk import DiskVault, identity_in
from evidence_store.vault.vault import ListedObject, StoredObject, Vault


class AbsentVault:
    """Raises OutOfReach `vault-absent` whatever it is asked."""

    administrator = "nobody: it is not there"

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def put(self, name: str, data: bytes) -> StoredObject:
        self._refuse()

    def mend(self, name: str, data: bytes) -> StoredObject:
        self._refuse()

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        self._refuse()

    def open(self, name: str) -> BinaryIO:
        self._refuse()

    def read_range(self, name: str, start: int, length: int) -> bytes:
        self._refuse()

    def exists(self, name: str) -> bool:
        self._refuse()

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OutOfReach("the vault's folder is not the one that it was: is its disk mounted?", code="vault-absent")


def folder_or_absent(root: Path, remembered: Path, limit: int | None, *, starts: bool = True) -> Vault:
    """The vault in `root`, if it is the one that `remembered`, a file elsewhere, names; anything goes the first time
    that the house starts with one. Before that no folder is made, and there is none for others.

    Whoever wants another folder to be the vault removes that file: everything is brought there then.
    """
    known = remembered.read_text().strip() if remembered.exists() else None
    if known is None and not starts:
        return AbsentVault("disk:unknown")
    try:
        if known is not None and identity_in(root) != known:
            return AbsentVault(known)
        vault = DiskVault(root, limit)
    except OSError:
        return AbsentVault(known or "disk:unknown")
    if known is None:
        write_durably(remembered, f"{vault.identity}\n".encode())
    return vault
