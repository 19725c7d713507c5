"""The store's key-encryption keys, in files that only the store's user reads.

    <keys folder>/kek     the first; its id is `file`
    <keys folder>/kek-2   the second, and so on; the id is the file's name

The one with the highest number wraps what is new; from the moment that its file has its name, which is one step. A
lower one is here only until everything that it wrapped is wrapped anew (`evidence_store.rotation`). Nothing is kept in
memory: a key that was destroyed on disk opens nothing from then on.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from evidence_store.durable import destroy, write_durably
from evidence_store.errors import Unavailable
from evidence_store.sealing.keys import PrivateKey, PublicKey, lock_seed, unlock_seed

SIZE: Final = 32
FIRST: Final = "file"
_LATER: Final = re.compile(r"kek-([1-9][0-9]{0,5})")


class KeyEncryptionKeys:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ids(self) -> list[str]:
        """Those that are here, the present one last. Raises Unavailable `kek-missing` where there is none."""
        found = {1: FIRST} if (self._folder / "kek").is_file() else {}
        for path in self._folder.glob("kek-*"):
            if match := _LATER.fullmatch(path.name):
                found[int(match[1])] = path.name
        if not found:
            raise Unavailable("the key-encryption key is not here", code="kek-missing")
        return [found[number] for number in sorted(found)]

    @property
    def current(self) -> str:
        return self.ids()[-1]

    def lock(self, private: PrivateKey) -> tuple[str, bytes]:
        """The seed under the present key, and that key's id."""
        current = self.current
        return current, lock_seed(self._read(current), private)

    def unlock(self, kek_id: str, locked: bytes, public: PublicKey) -> PrivateKey:
        """Raises Tampered; Unavailable `kek-missing` where the key of that id is not here."""
        return unlock_seed(self._read(kek_id), locked, public)

    def add(self) -> str:
        """A new key, which is the present one when this returns. A crash leaves it whole, or as if never made."""
        taken = self.ids() if (self._folder / "kek").exists() or any(self._folder.glob("kek-*")) else []
        if not taken:
            write_durably(self._folder / "kek", secrets.token_bytes(SIZE))
            return FIRST
        number = 2 if taken[-1] == FIRST else int(taken[-1].removeprefix("kek-")) + 1
        write_durably(self._folder / f"kek-{number}", secrets.token_bytes(SIZE))
        return f"kek-{number}"

    def destroy(self, kek_id: str) -> None:
        """Overwrites and removes it (`durable.destroy` says what that is worth). Raises OSError."""
        destroy(self._path(kek_id))

    def _path(self, kek_id: str) -> Path:
        if kek_id == FIRST:
            return self._folder / "kek"
        if not _LATER.fullmatch(kek_id):
            raise Unavailable("no such key-encryption key", code="kek-missing")
        return self._folder / kek_id

    def _read(self, kek_id: str) -> bytes:
        try:
            return self._path(kek_id).read_bytes()
        except FileNotFoundError:
            raise Unavailable("the key-encryption key of this wrap is not here", code="kek-missing") from None
