"""The promise of a vault, whatever it is made of. Each implementation passes tests/contracts/vault_contract.py.

A vault keeps sealed and public bytes only: segments, tails, starts, closes, manifests, checkpoints, stamps,
certificates, revocations. Never keys however wrapped, databases, ledger bodies, salts, copies or free text: what is
write-once cannot be erased.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from evidence_store.errors import InvalidInput

MAX_NAME: Final = 200
_SEGMENT = re.compile(r"[a-z0-9-][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What `put` gives back, to be kept in the database: the hash is what later reads are checked against."""

    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class ListedObject:
    name: str
    size: int


class Vault(Protocol):
    """A write-once store. Names are checked by `check_name`; every method raises InvalidInput `object-name`."""

    @property
    def identity(self) -> str:
        """Which store this is, for as long as it holds what it holds: a new or emptied one has another identity."""

    @property
    def administrator(self) -> str:
        """Under whose hand it is, as far as that shows from here: who can take the one can take the other."""

    def put(self, name: str, data: bytes) -> StoredObject:
        """When this returns, the object is durable under its name and this vault offers no way to change it.

        The same bytes again are welcome, and made durable again. Raises Conflict `object-exists` for other bytes
        under a name that is taken, and NoSpace `vault-full`; then nothing partial is left, and the object that was
        there is as it was.
        """

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        """The whole object. Raises NotFound `object`, and ChainBroken `object-altered` when its hash is not that."""

    def mend(self, name: str, data: bytes) -> StoredObject:
        """As `put`, where what is there was found not to be these bytes any more: from then on `get` with their hash
        gives them. What was there is kept, as evidence of what happened to it. The caller knows their hash from
        elsewhere: nothing that was promised is given up. Raises NoSpace, OutOfReach.
        """

    def open(self, name: str) -> BinaryIO:
        """For reading only, from its first byte; the caller closes it. Raises NotFound `object`."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """The bytes [start, start + length). Raises NotFound `object`, InvalidInput `object-range` beyond its end."""

    def exists(self, name: str) -> bool: ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        """Every object whose name begins with the prefix and follows `after`, by name; the prefix need not end at a
        slash, and nothing needs to have the name `after`. What is before it costs the least that the store allows."""


def part_of(data: bytes, start: int, length: int) -> bytes:
    """`Vault.read_range` of an object that was read whole. Raises InvalidInput `object-range`."""
    if start < 0 or length < 0 or start + length > len(data):
        raise InvalidInput("the range is not within the object", code="object-range")
    return data[start : start + length]


def check_name(name: str) -> None:
    """Raises InvalidInput `object-name` unless `name` is segments of a–z, 0–9, '.', '-' joined by slashes.

    At most 200 characters; no segment is empty or begins with a dot. Names reach logs and listings: they are made
    of hashes, ids and numbers, never of a case number or a person's name.
    """
    if len(name) > MAX_NAME or not all(_SEGMENT.fullmatch(segment) for segment in name.split("/")):
        raise InvalidInput("not an object name", code="object-name")


def check_prefix(prefix: str) -> None:
    """Raises InvalidInput `object-name` for what no object's name can begin with."""
    head, _, last = prefix.rpartition("/")
    if len(prefix) > MAX_NAME or (head and not all(_SEGMENT.fullmatch(segment) for segment in head.split("/"))):
        raise InvalidInput("not the beginning of an object name", code="object-name")
    if (last and not _SEGMENT.fullmatch(last)) or prefix.startswith("/"):
        raise InvalidInput("not the beginning of an object name", code="object-name")
