"""A vault in memory that can be told to lie: the faults that no real store can be made to show on demand."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections.abc import Iterator
from typing import BinaryIO

from evidence_store.errors import ChainBroken, Conflict, NotFound, OutOfReach, Unavailable
from evidence_store.vault.space import Space
from evidence_store.vault.vault import ListedObject, StoredObject, check_name, check_prefix, part_of


class LyingVault:
    """Honest until it is told otherwise.

    `away`: it answers nothing. `hangs`: it lets everybody wait, until `released` is set. `refuses`: it takes nothing.
    `forgets`: it acknowledges and keeps nothing. `spoils`: it acknowledges and keeps other bytes.
    """

    def __init__(self, administrator: str = "somebody", limit: int | None = None) -> None:
        self.identity, self.administrator = f"memory:{secrets.token_hex(4)}", administrator
        self.away = self.refuses = self.forgets = self.spoils = False
        self.hangs, self.released = False, threading.Event()
        self.objects: dict[str, bytes] = {}
        self.aside: list[bytes] = []
        self.space = Space(limit, 0)
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes) -> StoredObject:
        check_name(name)
        self._answer()
        if self.refuses:
            raise Unavailable("the store can be changed", code="vault-not-write-once")
        stored = StoredObject(name, len(data), hashlib.sha256(data).digest())
        with self._lock:
            if name not in self.objects and not self.forgets:
                self.space.claim(len(data))
                self.objects[name] = data[::-1] + b"!" if self.spoils else data
            if not (self.forgets or self.spoils) and self.objects[name] != data:
                raise Conflict("another object has this name", code="object-exists")
        return stored

    def mend(self, name: str, data: bytes) -> StoredObject:
        self._answer()
        if self.objects.get(name, data) != data:
            self.aside.append(self.objects.pop(name))
        return self.put(name, data)

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        check_name(name)
        self._answer()
        if name not in self.objects:
            raise NotFound("no such object", code="object")
        data = self.objects[name]
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise ChainBroken("a stored object is not what was stored", code="object-altered")
        return data

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(io.BytesIO(self.get(name)))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        return part_of(self.get(name), start, length)

    def exists(self, name: str) -> bool:
        check_name(name)
        self._answer()
        return name in self.objects

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        check_prefix(prefix)
        self._answer()
        for name in sorted(self.objects):
            if name.startswith(prefix) and name > after:
                yield ListedObject(name, len(self.objects[name]))

    def _answer(self) -> None:
        if self.hangs:
            self.released.wait(60)
        if self.away:
            raise OutOfReach("the vault does not answer", code="vault-out-of-reach")
