"""The vaults of a house as one: each object goes to both of two, and each reading takes a copy that is what it was.

One vault that is away, hangs, is full, refused, or lies, holds up nobody: the other takes the object, and what is
lacking is noted before anybody is told that the object is stored. `evidence_store.scrub` brings it there.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import BinaryIO, Final, TypeVar

import structlog

from evidence_store.errors import ChainBroken, Conflict, NotFound, OutOfReach, Tampered, Unavailable, VidneError
from evidence_store.holdings import ALTERED, Holdings
from evidence_store.vault.reach import LONG_PATIENCE_S, Reach, reached
from evidence_store.vault.vault import ListedObject, StoredObject, Vault, check_name, part_of

LISTED_AT_ONCE: Final = 10_000
MOST_NOTICED: Final = 1_000
"""What readers found wrong and nobody has looked at yet; beyond that the next reading of everything finds it."""

log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class KeptVault:
    """One vault, or two, behind the promise of one. Safe for threads.

    `put` returns when at least one vault holds the object and the database knows which. Raises Conflict where other
    bytes were acknowledged under the name; OutOfReach, NoSpace, Unavailable when no vault takes it. `get` checks what
    it reads against the hash that was acknowledged, and goes on to the other copy when it does not agree.
    """

    def __init__(self, holdings: Holdings, vaults: Sequence[Vault]) -> None:
        self.holdings = holdings
        self.vaults = tuple(vaults)
        self.reaches = [Reach(vault) for vault in vaults]
        self.contradicts: Callable[[str, bytes], bool] = lambda name, other: False
        """Whether other bytes that a vault has under a name prove more than damage: `Book` says so of checkpoints."""
        self._noticed: dict[tuple[str, str], str] = {}
        self._noticing = threading.Lock()
        holdings.meet(self.identities)

    @property
    def identities(self) -> list[str]:
        return [vault.identity for vault in self.vaults]

    @property
    def identity(self) -> str:
        return " ".join(self.identities)

    @property
    def administrator(self) -> str:
        return " and ".join(dict.fromkeys(vault.administrator for vault in self.vaults))

    def put(self, name: str, data: bytes) -> StoredObject:
        check_name(name)
        stored = StoredObject(name, len(data), hashlib.sha256(data).digest())
        known = self.holdings.of(name)
        if known is not None and known.sha256 != stored.sha256:
            raise Conflict("another object has this name", code="object-exists")
        failed: dict[str, VidneError] = {}
        for reach in self.reaches:
            try:
                reach.ask(lambda vault: put_into(vault, stored, data))
            except (Conflict, Unavailable) as error:
                if isinstance(error, Conflict) and self._is_contradicted(reach, name):
                    raise
                damaged = isinstance(error, Conflict) and known == stored
                if not damaged or not self._mended(reach, stored, data):
                    failed[reach.vault.identity] = error
        if len(failed) == len(self.vaults):
            # Trying again is worth it where one of them only could not.
            raise min(failed.values(), key=lambda error: isinstance(error, Conflict))
        lacking = {identity: error.code for identity, error in failed.items()}
        for identity, code in lacking.items():
            log.error("object_not_in_vault", vault=identity, code=code)
        # A crash before this: nobody was told, and whoever delivers comes again with the same bytes.
        self.holdings.note(stored, lacking, [identity for identity in self.identities if identity not in lacking])
        return stored

    def _is_contradicted(self, reach: Reach, name: str) -> bool:
        try:
            return self.contradicts(name, reach.ask(lambda vault: vault.get(name)))
        except (NotFound, OutOfReach):
            return False

    def _mended(self, reach: Reach, stored: StoredObject, data: bytes) -> bool:
        """Whether a damaged copy is now what was acknowledged, which came in again."""
        # Before it is mended, so that whoever brings things looks at it and enters it into custody.
        self.holdings.lack(reach.vault.identity, stored.name, ALTERED, damaged=True)
        try:
            reach.ask(lambda vault: vault.mend(stored.name, data), LONG_PATIENCE_S)
        except (Conflict, Unavailable) as error:
            log.error("object_not_mended", vault=reach.vault.identity, code=error.code)
            return False
        return True

    def mend(self, name: str, data: bytes) -> StoredObject:
        """In every vault. Raises Conflict `object-exists` for bytes that are not those that were acknowledged."""
        known = self.holdings.of(name)
        if known is not None and known.sha256 != hashlib.sha256(data).digest():
            raise Conflict("another object has this name", code="object-exists")
        for reach in self.reaches:
            reach.ask(lambda vault: vault.mend(name, data), LONG_PATIENCE_S)
        return self.put(name, data)

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        check_name(name)
        if sha256 is None:
            known = self.holdings.of(name)
            sha256 = None if known is None else known.sha256
        failed: list[VidneError] = []
        for reach in self.reaches:
            try:
                return reach.ask(lambda vault: vault.get(name, sha256))
            except (NotFound, ChainBroken, OutOfReach) as error:
                failed.append(error)
                self._notice(reach.vault.identity, name, error)
        raise min(failed, key=_severity)

    def read(self, name: str, sha256: bytes, accept: Callable[[bytes], _T]) -> _T:
        """What `accept` makes of a copy, for whoever checks it closer than a hash of the whole object does: a copy that
        it accepts is not hashed. It raises Tampered for one that it does not, which is asked for again by its hash (a
        mended one lies beneath) before the other vault is. Raises what `get` and `accept` raise.
        """
        failed: list[VidneError] = []
        for reach in self.reaches:
            for expected in (None, sha256):
                try:
                    return accept(_got(reach, name, expected))
                except (NotFound, Tampered, OutOfReach) as error:
                    refused = error
                    if not isinstance(error, Tampered):
                        break
            failed.append(refused)
            self._notice(reach.vault.identity, name, refused)
        raise min(failed, key=_severity)

    def adopt(self, name: str) -> bytes:
        """What a vault has under a name that a crash, or another process, left: from then on it is known, and brought
        to the other vault too. Its bytes. Raises what `get` and `put` raise."""
        data = self.get(name)
        if self.holdings.of(name) is None:
            self.put(name, data)
        return data

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(io.BytesIO(self.get(name)))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        return part_of(self.get(name), start, length)

    def exists(self, name: str) -> bool:
        """Whether it was ever acknowledged, or a vault that answers has it. Raises OutOfReach when none answers."""
        check_name(name)
        return self.holdings.of(name) is not None or any(
            self._each(lambda reach: reach.ask(lambda vault: vault.exists(name)))
        )

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        """What any vault that answers has. Raises OutOfReach when none answers."""
        listings = self._each(lambda reach: _listed(reach, prefix, after))
        merged = heapq.merge(*listings, key=lambda listed: listed.name)
        for _, same in groupby(merged, key=lambda listed: listed.name):
            yield next(same)

    def complete(self, prefixes: Sequence[str]) -> bool:
        """Whether every vault holds all objects whose names begin with these."""
        return self.holdings.complete(prefixes, self.identities)

    @property
    def has_noticed(self) -> bool:
        return bool(self._noticed)

    def noticed(self) -> dict[tuple[str, str], str]:
        """What readers found wrong since this was asked last: vault and name, and an error's code."""
        with self._noticing:
            found, self._noticed = self._noticed, {}
        return found

    def _notice(self, vault: str, name: str, error: VidneError) -> None:
        if not isinstance(error, Unavailable) and self.holdings.of(name) is not None:
            with self._noticing:
                if len(self._noticed) < MOST_NOTICED:
                    self._noticed[vault, name] = error.code

    def _each(self, ask: Callable[[Reach], _T]) -> Sequence[_T]:
        answers, failed = [], []
        for reach in self.reaches:
            try:
                with reached():
                    answers.append(ask(reach))
            except OutOfReach as error:
                failed.append(error)
        if not answers:
            raise failed[0]
        return answers


def _listed(reach: Reach, prefix: str, after: str) -> Sequence[ListedObject]:
    """In portions, each of which is waited for: a vault that hangs holds nobody up, one that has much is listed."""
    found: list[ListedObject] = []
    while True:
        portion = reach.ask(
            lambda vault, after=after: list(islice(vault.list(prefix, after), LISTED_AT_ONCE)),  # type: ignore[misc]
            LONG_PATIENCE_S,
        )
        found += portion
        if len(portion) < LISTED_AT_ONCE:
            return sorted(found, key=lambda listed: listed.name)
        after = portion[-1].name


def _got(reach: Reach, name: str, sha256: bytes | None) -> bytes:
    return reach.ask(lambda vault: vault.get(name, sha256))


def put_into(vault: Vault, stored: StoredObject, data: bytes) -> None:
    """Raises Conflict, and Unavailable for everything else that a vault can do wrong."""
    with reached():
        if vault.put(stored.name, data) != stored:
            raise OutOfReach("the vault acknowledged something else", code="vault-out-of-reach")


def _severity(error: VidneError) -> int:
    """What is damaged says more than what could not be looked at, and that more than what is not there."""
    return 0 if isinstance(error, Tampered) else 1 if isinstance(error, OutOfReach) else 2
