"""The store's key-encryption keys: in files that only the store's user reads, or in a token (an HSM).

    <keys folder>/kek         the first, where it is a file; its id is `file`
    <keys folder>/kek-2       a later one in a file; the id is the file's name
    <keys folder>/kek-3.hsm   one in a token: which (`evidence_store.hsm.keys.KeyPlace`), nothing secret; id `kek-3`

The one with the highest number wraps what is new; from the moment that its file has its name, which is one step. A
lower one is here only until everything that it wrapped is wrapped anew (`evidence_store.rotation`). Nothing is kept in
memory: a key that was destroyed on disk or in its token opens nothing from then on.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from evidence_store.durable import destroy, fsync_folder, write_durably
from evidence_store.errors import Unavailable
from evidence_store.hsm import keys as hsm
from evidence_store.hsm.token import Token, Tokens
from evidence_store.sealing.keys import PrivateKey, PublicKey, checked_seed, lock_seed, unlock_seed

SIZE: Final = 32
FIRST: Final = "file"
_IN_TOKEN: Final = ".hsm"  # noqa: S105 - a file name's end
_LATER: Final = re.compile(r"kek-([1-9][0-9]{0,5})(\.hsm)?")


class KeyEncryptionKeys:
    def __init__(self, folder: Path, tokens: Tokens | None = None) -> None:
        self._folder = folder
        self.tokens = tokens or Tokens()

    def ids(self) -> list[str]:
        """Those that are here, the present one last. Raises Unavailable `kek-missing` where there is none."""
        found = self._numbered()
        if not found:
            raise Unavailable("the key-encryption key is not here", code="kek-missing")
        return [found[number] for number in sorted(found)]

    def _numbered(self) -> dict[int, str]:
        found = {1: FIRST} if (self._folder / "kek").is_file() else {}
        for path in self._folder.glob("kek-*"):
            if match := _LATER.fullmatch(path.name):
                found[int(match[1])] = path.name.removesuffix(_IN_TOKEN)
        return found

    @property
    def current(self) -> str:
        return self.ids()[-1]

    def place(self, kek_id: str) -> hsm.KeyPlace | None:
        """Where in a token it is; None for one in a file. Raises Unavailable `kek-missing`, InvalidInput."""
        if kek_id == FIRST or not _LATER.fullmatch(kek_id):
            return None
        try:
            return hsm.KeyPlace.decode(self._path(kek_id + _IN_TOKEN).read_bytes())
        except FileNotFoundError:
            return None

    def lock(self, private: PrivateKey) -> tuple[str, bytes]:
        """The seed under the present key, and that key's id. Raises KeysOutOfReach as `Token.run`."""
        current = self.current
        if (place := self.place(current)) is not None:
            return current, hsm.wrap(self.tokens.get(place.token), place, private.seed)
        return current, lock_seed(self._read(current), private)

    def unlock(self, kek_id: str, locked: bytes, public: PublicKey) -> PrivateKey:
        """Raises Tampered; Unavailable `kek-missing` where the key of that id is not here; KeysOutOfReach."""
        if (place := self.place(kek_id)) is not None:
            return checked_seed(hsm.unwrap(self.tokens.get(place.token), place, locked), public)
        return unlock_seed(self._read(kek_id), locked, public)

    def add(self, token: Token | None = None, beyond: Iterable[str] = ()) -> str:
        """A new key in the token, or in a file; it is the present one when this returns. Raises OutOfReach as
        `Token.run`. `beyond`: ids that wraps name, with or without a file here; the new one is higher than they.

        A crash leaves it whole, or as if never made: at worst the token holds a key that nothing names.
        """
        named = (_LATER.fullmatch(kek_id) for kek_id in beyond)
        number = max([*self._numbered(), *(int(match[1]) for match in named if match)], default=0) + 1
        if token is not None:
            place = hsm.make_wrapping_key(token, f"{hsm.LABEL}kek-{number}")
            write_durably(self._folder / f"kek-{number}{_IN_TOKEN}", place.encode())
            return f"kek-{number}"
        name = "kek" if number == 1 else f"kek-{number}"
        write_durably(self._folder / name, secrets.token_bytes(SIZE))
        return FIRST if number == 1 else name

    def destroy(self, kek_id: str) -> None:
        """Gone from its token, or overwritten and removed (`durable.destroy` says what that is worth). Raises OSError,
        KeysOutOfReach as `hsm.keys.destroy`."""
        if (place := self.place(kek_id)) is not None:
            hsm.destroy(self.tokens.get(place.token), place)
            # A crash here: the file names a key that is gone. The next rotation finds it gone, and takes the file.
            self._path(kek_id + _IN_TOKEN).unlink()
            fsync_folder(self._folder)
            return
        destroy(self._path(kek_id))

    def forget(self, kek_id: str) -> None:
        """Takes away the file that names a key of a token which is lost: what it wrapped is wrapped anew."""
        self._path(kek_id + _IN_TOKEN).unlink(missing_ok=True)
        fsync_folder(self._folder)

    def lost(self) -> list[str]:
        """Those that cannot be used now, for whatever reason. Raises Unavailable `kek-missing` where there is none."""
        return [kek_id for kek_id in self.ids() if not self._works(kek_id)]

    def _works(self, kek_id: str) -> bool:
        try:
            self._answers(kek_id)
        except Unavailable:
            return False
        return True

    def answers(self) -> None:
        """Returns where every key-encryption key is there to be used now. Raises Unavailable, OutOfReach."""
        for kek_id in self.ids():
            self._answers(kek_id)

    def _answers(self, kek_id: str) -> None:
        if (place := self.place(kek_id)) is None:
            self._read(kek_id)
        else:
            hsm.answers(self.tokens.get(place.token), place)

    def _path(self, name: str) -> Path:
        if name == FIRST:
            return self._folder / "kek"
        if not _LATER.fullmatch(name):
            raise Unavailable("no such key-encryption key", code="kek-missing")
        return self._folder / name

    def _read(self, kek_id: str) -> bytes:
        try:
            return self._path(kek_id).read_bytes()
        except FileNotFoundError:
            raise Unavailable("the key-encryption key of this wrap is not here", code="kek-missing") from None
