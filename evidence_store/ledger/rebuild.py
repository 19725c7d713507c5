"""Rebuilds a whole ledger from its entries, and holds everything that is stored of it against that.

For millions of entries: rows are read in portions and never all held. A large ledger is read by a process of its own
(`reader.py`): here, Python hashes and reads on one processor while the others check signatures, and each keeps the
other waiting.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import Session

from evidence_store import domains
from evidence_store.database.schema import LedgerCheckpointRow, LedgerEntryRow, LedgerHeadRow, LedgerNodeRow
from evidence_store.errors import ChainBroken
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner, NoteVerifier
from evidence_store.ledger.merkle import EMPTY_ROOT, node_at, node_key, row_of

PORTION: Final = 4_096
"""Entries read at a time: whole tiles of the tree."""
_BODY: Final = domains.prefix(domains.LEDGER_BODY)
_LEFT_OPEN: Final = 2
"""Portions whose checkpoints may wait to be checked: beyond that, hashing waits for them."""

_Entry = Row[int, bytes, bytes | None, bytes | None]
Signed = tuple[int, bytes, bytes]
"""Of a checkpoint: its size, its note as stored, and the root that the rebuilt tree has there."""


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a whole check found right: the tree, how much of it is signed, how many bodies are erased."""

    size: int
    root: bytes
    signed_size: int
    checkpoints: int
    erased: int


def portions(session: Session, start: int = 0, size: int = PORTION) -> Iterator[Sequence[_Entry]]:
    """Position, leaf, nonce and body of every entry from `start` on, in order: a missing one shows as a jump."""
    # The table's columns, not the class's: rows come as they are, at half the cost.
    entry = LedgerEntryRow.__table__.c
    while True:
        query = select(entry.position, entry.leaf, entry.nonce, entry.body)
        query = query.where(entry.position >= start).order_by(entry.position)
        portion = session.execute(query.limit(size)).all()
        if not portion:
            return
        yield portion
        start = portion[-1][0] + 1


class Rebuild:
    """One pass over one ledger: `signed` to its end, then `ends`. Both raise ChainBroken (codes `ledger-…`) at the
    first thing that is wrong. What the checkpoints sign is for `Signatures` to check."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.size = self._erased = self._inner = 0
        # The complete subtrees at the right edge, largest first: level and hash.
        self._edge: list[tuple[int, bytes]] = []

    def signed(self) -> Iterator[list[Signed]]:
        """What the checkpoints of each portion have to say, as soon as its entries and nodes were found right."""
        yield [(0, note, EMPTY_ROOT) for note in self._notes(range(1)).values()]
        for portion in portions(self._session):
            yield self._portion(portion)

    def _portion(self, portion: Sequence[_Entry]) -> list[Signed]:
        """Hashes it and compares nodes; returns what its checkpoints have to say."""
        sha256, edge, first = hashlib.sha256, self._edge, self.size
        notes = self._notes(range(first + 1, first + len(portion) + 1))
        inner: dict[int, bytes] = {}
        roots: dict[int, bytes] = {}
        for index, (position, leaf, nonce, body) in enumerate(portion, start=first):
            if position != index:
                raise ChainBroken(f"ledger entry {index} is missing", code="ledger-entry-missing")
            if nonce is None and body is None:
                self._erased += 1
            elif nonce is None or body is None or len(nonce) != 32 or sha256(_BODY + nonce + body).digest() != leaf:
                raise ChainBroken(f"ledger entry {index} is not what was appended", code="ledger-entry-altered")
            level, at, value = 0, index, sha256(b"\x00" + leaf).digest()
            while at % 2:
                value = sha256(b"\x01" + edge.pop()[1] + value).digest()
                level, at = level + 1, at // 2
                inner[node_key(level, at)] = value
            edge.append((level, value))
            if index + 1 in notes:
                root = value
                for _, left in edge[-2::-1]:
                    root = sha256(b"\x01" + left + root).digest()
                roots[index + 1] = root
        self.size += len(portion)
        self._inner += len(inner)
        self._compare(inner)
        return [(size, notes[size], root) for size, root in roots.items()]

    def _compare(self, inner: dict[int, bytes]) -> None:
        """The nodes that a portion made, with those stored: side by side in the lowest tiles, few and far above."""
        low, high = [key for key in inner if not row_of(key)], [key for key in inner if row_of(key)]
        stored: dict[int, bytes] = {}
        if low:
            stored |= self._stored(LedgerNodeRow.coordinate.between(min(low), max(low)))
        if high:
            stored |= self._stored(LedgerNodeRow.coordinate.in_(high))
        if stored != inner:
            wrong = min(key for key in {*stored, *inner} if stored.get(key) != inner.get(key))
            level, position = node_at(wrong) or ("?", wrong)
            raise ChainBroken(f"tree node {level}/{position} is wrong", code="ledger-node-wrong")

    def _stored(self, which: ColumnElement[bool]) -> dict[int, bytes]:
        node = LedgerNodeRow.__table__.c
        return dict(self._session.execute(select(node.coordinate, node.hash).where(which)).all())

    def _notes(self, sizes: range) -> dict[int, bytes]:
        row = LedgerCheckpointRow.__table__.c
        between = select(row.size, row.note).where(row.size >= sizes.start, row.size < sizes.stop)
        return dict(self._session.execute(between).all())

    def ends(self) -> LedgerReport:
        """Head, the number of nodes, and that nothing was signed beyond the end."""
        root = EMPTY_ROOT
        if self._edge:
            root = self._edge[-1][1]
            for _, left in self._edge[-2::-1]:
                root = hashlib.sha256(b"\x01" + left + root).digest()
        head = self._session.execute(
            select(LedgerHeadRow.size, LedgerHeadRow.root).where(LedgerHeadRow.id == 1)
        ).one_or_none()
        if head is None:
            raise ChainBroken("the ledger's head is missing", code="ledger-head-wrong")
        if tuple(head) != (self.size, root):
            raise ChainBroken("the ledger's head is not that of its entries", code="ledger-head-wrong")
        if self._session.scalar(select(func.count()).select_from(LedgerNodeRow)) != self._inner:
            raise ChainBroken("the tree holds nodes that no entry made", code="ledger-node-wrong")
        counted, signed = self._session.execute(
            select(func.count(), func.max(LedgerCheckpointRow.size)).select_from(LedgerCheckpointRow)
        ).one()
        if (signed or 0) > self.size:
            raise ChainBroken("the ledger is smaller than it has been", code="ledger-rolled-back")
        return LedgerReport(self.size, root, signed or 0, counted, self._erased)


class Signatures:
    """Checks what is signed, on all processors: signing and verifying let other threads run. For the length of a block,
    which raises ChainBroken `ledger-rewritten`, SignatureInvalid or InvalidInput at its end, if not before.

    `key`: with a NoteSigner, a note that is byte for byte what it would sign is known to be signed (Ed25519 signs the
    same text with the same bytes, RFC 8032), at a third of what verifying costs; any other note is verified as ever.
    Nothing that is signed here leaves this class.
    """

    def __init__(self, key: NoteSigner | NoteVerifier) -> None:
        self._signer = key if isinstance(key, NoteSigner) else None
        self._verifier = key.verifier if isinstance(key, NoteSigner) else key
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "vidne-checkpoints")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Signatures:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.pop(0).result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def check(self, signed: Sequence[Signed]) -> None:
        """Soon: more than a few portions do not wait."""
        half = len(signed) // 2
        self._waiting += [self._pool.submit(self._check, part) for part in (signed[:half], signed[half:])]
        while len(self._waiting) > 2 * _LEFT_OPEN:
            self._waiting.pop(0).result()

    def _check(self, signed: Sequence[Signed]) -> None:
        for size, note, root in signed:
            if self._signer is not None:
                text = Checkpoint(self._verifier.name, size, root).text()
                if note == f"{text}\n{self._signer.sign(text).line()}".encode():
                    continue
            opened = Checkpoint.open(note, self._verifier)
            if (opened.size, opened.root) != (size, root):
                raise ChainBroken(f"the checkpoint at {size} signs another tree", code="ledger-rewritten")
