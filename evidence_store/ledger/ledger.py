"""The ledger in the database: append, sign, prove, check. Format: docs/formats/ledger.md.

A leaf commits to nonce ‖ body, so that a body can be erased while every proof goes on standing. Appends are one at a
time: the head row is locked from the first read to the commit (SQLite: the whole database, by `BEGIN IMMEDIATE`).
A transaction that dies leaves nothing; there is no half an append to recover from.

What a signature does not cover yet, an administrator can rewrite: sign often, and give the checkpoint to others.
Keeping the note in the vault and with witnesses is the caller's work.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from evidence_store.database.schema import LedgerCheckpointRow, LedgerEntryRow, LedgerHeadRow, LedgerNodeRow
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, Unavailable
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner, NoteVerifier
from evidence_store.ledger.proof import NONCE_SIZE, Proof, leaf_data

MAX_BODY: Final = 1024 * 1024
_FETCH: Final = 400
_SCAN: Final = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as stored. Nonce and body are None once the body has been erased."""

    index: int
    leaf: bytes
    nonce: bytes | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a whole check found right: the tree, how much of it is signed, how many bodies are erased."""

    size: int
    root: bytes
    signed_size: int
    checkpoints: int
    erased: int


class Ledger:
    """The tree of one log. Holds no state but the key: every method works on the session it is given.

    With a NoteSigner it signs checkpoints; with a NoteVerifier it can do everything else.
    """

    def __init__(self, key: NoteSigner | NoteVerifier) -> None:
        self._signer = key if isinstance(key, NoteSigner) else None
        self.verifier = key.verifier if isinstance(key, NoteSigner) else key

    def append(self, session: Session, bodies: Sequence[bytes]) -> range:
        """Appends entries in order, in the session's transaction; returns their indices.

        Durable when that transaction has committed, and not before. Raises ChainBroken when the stored tree does
        not agree with its head or its last checkpoint: nothing is appended to a tree that somebody has touched.
        """
        if any(len(body) > MAX_BODY for body in bodies):
            raise InvalidInput("a ledger body has at most one MiB", code="body-too-large")
        head, nodes = self._trusted(session)
        old, new = head.size, head.size + len(bodies)
        nonces = [secrets.token_bytes(NONCE_SIZE) for _ in bodies]
        leaves = [leaf_data(nonce, body) for nonce, body in zip(nonces, bodies, strict=True)]
        if not leaves:
            return range(old, old)
        completed = list(merkle.completed_nodes(old, map(merkle.leaf_hash, leaves), merkle.reader(nodes)))
        session.execute(
            insert(LedgerEntryRow),
            [
                {"position": old + k, "leaf": leaf, "nonce": nonces[k], "body": bytes(bodies[k])}
                for k, leaf in enumerate(leaves)
            ],
        )
        inner = [{"coordinate": _key(level, at), "hash": value} for level, at, value in completed if level]
        if inner:
            session.execute(insert(LedgerNodeRow), inner)
        nodes |= {(level, at): value for level, at, value in completed}
        # Names the size it grows from: should a database let two appends in, the second changes no row.
        grown = session.execute(
            update(LedgerHeadRow)
            .where(LedgerHeadRow.id == 1, LedgerHeadRow.size == old)
            .values(size=new, root=merkle.root(new, merkle.reader(nodes))),
            execution_options={"synchronize_session": False},
        )
        if getattr(grown, "rowcount", 0) != 1:
            raise Conflict("the ledger grew meanwhile", code="ledger-moved")
        return range(old, new)

    def checkpoint(self, session: Session, at: int) -> bytes:
        """Signs the tree as it is (`at`: nanoseconds UTC, for our own records) and returns the signed note.

        The same size gives the same note again. Checked first to continue the checkpoint before it: a log that signs
        two trees that contradict each other is finished. Raises Unavailable without a private key, ChainBroken.
        """
        if self._signer is None:
            raise Unavailable("this ledger has no key to sign with", code="ledger-read-only")
        head, _ = self._trusted(session)
        signed = session.get(LedgerCheckpointRow, head.size)
        if signed is not None:
            return signed.note
        note = Checkpoint(self.verifier.name, head.size, head.root).signed(self._signer).write()
        session.add(LedgerCheckpointRow(size=head.size, note=note, signed_at=at))
        session.flush()
        return note

    def size_of(self, note: bytes) -> int:
        """Of a checkpoint of this log. Raises InvalidInput, SignatureInvalid."""
        return Checkpoint.open(note, self.verifier).size

    def latest_checkpoint(self, session: Session) -> bytes | None:
        """The last note that was signed, or None. Not verified here."""
        row = self._last_checkpoint_row(session)
        return None if row is None else row.note

    def prove(self, session: Session, index: int, note: bytes | None = None) -> Proof:
        """A proof that entry `index` is in the tree of the last checkpoint, with its nonce as extra data.

        `note`: an earlier checkpoint of this log that covers the entry, as it is to stand in the proof, such as one
        with cosignatures. Raises NotFound `ledger-entry`, Unavailable `ledger-unsigned` for an entry that the
        checkpoint does not cover.
        """
        entry = self.entry(session, index)
        note = note or self.latest_checkpoint(session)
        size = 0 if note is None else self.size_of(note)
        if note is None or size <= index:
            raise Unavailable("no checkpoint covers this entry yet", code="ledger-unsigned")
        wanted = merkle.coordinates(lambda node: merkle.inclusion_proof(index, size, node))
        hashes = merkle.inclusion_proof(index, size, merkle.reader(_fetch(session, wanted)))
        proof = Proof(index, tuple(hashes), note, entry.nonce)
        # A proof that does not hold must never leave the house.
        proof.verify(entry.leaf, self.verifier)
        return proof

    def consistency(self, session: Session, old: int, new: int) -> list[bytes]:
        """The hashes that show a tree of `new` leaves to begin with that of `old` (RFC 6962, 2.1.2).

        Raises InvalidInput `tree-size` beyond the present tree.
        """
        if new > self._head(session).size:
            raise InvalidInput("the tree is not that large", code="tree-size")
        wanted = merkle.coordinates(lambda node: merkle.consistency_proof(old, new, node))
        return merkle.consistency_proof(old, new, merkle.reader(_fetch(session, wanted)))

    def check_against(self, session: Session, note: bytes) -> Checkpoint:
        """Checks that the tree continues a checkpoint that was kept elsewhere: in the vault, by a witness, in a copy.

        Raises ChainBroken `ledger-rolled-back` when the tree is smaller than it, `ledger-rewritten` when its
        beginning is another; SignatureInvalid when the note is not of this log.
        """
        seen = Checkpoint.open(note, self.verifier)
        if seen.size > self._head(session).size:
            raise ChainBroken("the ledger is smaller than it has been", code="ledger-rolled-back")
        if self._root_at(session, seen.size) != seen.root:
            raise ChainBroken("the ledger's beginning is not what was signed", code="ledger-rewritten")
        return seen

    def entry(self, session: Session, index: int) -> Entry:
        """Raises NotFound `ledger-entry`."""
        row = session.get(LedgerEntryRow, index)
        if row is None:
            raise NotFound("no such ledger entry", code="ledger-entry")
        return Entry(row.position, row.leaf, row.nonce, row.body)

    def entries(self, session: Session, start: int = 0) -> Iterator[Entry]:
        """Every entry from `start` on, in order, read in portions: a missing one shows as a jump of the index."""
        for portion in self._portions(session, start):
            yield from portion

    def _portions(self, session: Session, start: int = 0) -> Iterator[list[Entry]]:
        columns = (LedgerEntryRow.position, LedgerEntryRow.leaf, LedgerEntryRow.nonce, LedgerEntryRow.body)
        while True:
            query = select(*columns).where(LedgerEntryRow.position >= start).order_by(LedgerEntryRow.position)
            portion = [Entry(*row) for row in session.execute(query.limit(_SCAN))]
            if not portion:
                return
            yield portion
            start = portion[-1].index + 1

    def erase_body(self, session: Session, index: int) -> None:
        """Takes nonce and body out of the database for good; the leaf stays, and so does every proof.

        Deciding that it may be done, and attesting it, is the caller's. Raises NotFound `ledger-entry`.
        """
        if session.get(LedgerEntryRow, index) is None:
            raise NotFound("no such ledger entry", code="ledger-entry")
        session.execute(
            update(LedgerEntryRow).where(LedgerEntryRow.position == index).values(nonce=None, body=None),
        )

    def verify_all(self, session: Session) -> LedgerReport:
        """Rebuilds the tree from the entries and checks everything stored against it.

        1. Entries count from 0 without holes, and each leaf is made of its nonce and body, unless both are erased.
        2. Every stored node is that of the rebuilt tree, and there is no other. 3. The head is its size and root.
        4. Every checkpoint is signed by this log and has the root that the tree had at that size.
        Raises ChainBroken (codes `ledger-…`) or SignatureInvalid, at the first that is wrong.
        """
        checkpoints = {row.size: row.note for row in session.scalars(select(LedgerCheckpointRow))}
        self._check_signed(checkpoints, range(1), merkle.reader({}))
        # Kept from portion to portion: the complete subtrees at the right edge, all that a root is made of.
        edge: dict[merkle.Coordinate, bytes] = {}
        size = erased = inner = 0
        for portion in self._portions(session):
            for index, entry in enumerate(portion, start=size):
                if entry.index != index:
                    raise ChainBroken(f"ledger entry {index} is missing", code="ledger-entry-missing")
                erased += _check_leaf(entry)
            leaves = [merkle.leaf_hash(entry.leaf) for entry in portion]
            made = {
                (level, position): value
                for level, position, value in merkle.completed_nodes(size, leaves, merkle.reader(edge))
            }
            inner += _check_nodes(session, made)
            edge |= made
            grown = size + len(portion)
            self._check_signed(checkpoints, range(size + 1, grown + 1), merkle.reader(edge))
            size, edge = grown, {at: edge[at] for at in merkle.frontier(grown)}
        root = merkle.root(size, merkle.reader(edge))
        head = self._head(session)
        if (head.size, head.root) != (size, root):
            raise ChainBroken("the ledger's head is not that of its entries", code="ledger-head-wrong")
        if session.scalar(select(func.count()).select_from(LedgerNodeRow)) != inner:
            raise ChainBroken("the tree holds nodes that no entry made", code="ledger-node-wrong")
        signed = max(checkpoints, default=0)
        if signed > size:
            raise ChainBroken("the ledger is smaller than it has been", code="ledger-rolled-back")
        return LedgerReport(size, root, signed, len(checkpoints), erased)

    def _check_signed(self, checkpoints: dict[int, bytes], sizes: range, node: merkle.Node) -> None:
        for size in sizes:
            note = checkpoints.get(size)
            if note is None:
                continue
            signed = Checkpoint.open(note, self.verifier)
            if (signed.size, signed.root) != (size, merkle.root(size, node)):
                raise ChainBroken(f"the checkpoint at {size} signs another tree", code="ledger-rewritten")

    def _head(self, session: Session, *, lock: bool = False) -> LedgerHeadRow:
        query = select(LedgerHeadRow).where(LedgerHeadRow.id == 1).execution_options(populate_existing=True)
        head = session.scalars(query.with_for_update() if lock else query).one_or_none()
        if head is None:
            raise ChainBroken("the ledger's head is missing", code="ledger-head-wrong")
        return head

    def _last_checkpoint_row(self, session: Session) -> LedgerCheckpointRow | None:
        return session.scalars(select(LedgerCheckpointRow).order_by(LedgerCheckpointRow.size.desc()).limit(1)).first()

    def _root_at(self, session: Session, size: int) -> bytes:
        return merkle.root(size, merkle.reader(_fetch(session, merkle.frontier(size))))

    def _trusted(self, session: Session) -> tuple[LedgerHeadRow, dict[merkle.Coordinate, bytes]]:
        """The locked head and the nodes at its edge, once they agree with each other and with the last checkpoint."""
        head = self._head(session, lock=True)
        last = session.scalar(select(func.max(LedgerEntryRow.position)))
        if head.size != (0 if last is None else last + 1):
            raise ChainBroken("the ledger's head is not that of its entries", code="ledger-head-wrong")
        row = self._last_checkpoint_row(session)
        signed = None if row is None else Checkpoint.open(row.note, self.verifier)
        if signed is not None and signed.size > head.size:
            raise ChainBroken("the ledger is smaller than it has been", code="ledger-rolled-back")
        wanted = dict.fromkeys(merkle.frontier(head.size))
        wanted |= dict.fromkeys(merkle.frontier(0 if signed is None else signed.size))
        nodes = _fetch(session, list(wanted))
        node = merkle.reader(nodes)
        if merkle.root(head.size, node) != head.root:
            raise ChainBroken("the ledger's head is not that of its entries", code="ledger-head-wrong")
        if signed is not None and merkle.root(signed.size, node) != signed.root:
            raise ChainBroken("the ledger's beginning is not what was signed", code="ledger-rewritten")
        return head, nodes


def _check_leaf(entry: Entry) -> int:
    """1 if the body is erased, 0 if it is there and makes the leaf."""
    if entry.nonce is None and entry.body is None:
        return 1
    if entry.nonce is None or entry.body is None or leaf_data(entry.nonce, entry.body) != entry.leaf:
        raise ChainBroken(f"ledger entry {entry.index} is not what was appended", code="ledger-entry-altered")
    return 0


def _check_nodes(session: Session, made: dict[merkle.Coordinate, bytes]) -> int:
    """Compares the inner nodes that entries make with those stored; returns how many there are."""
    inner = {at: value for at, value in made.items() if at[0]}
    stored = _fetch(session, list(inner))
    for (level, position), value in inner.items():
        if stored.get((level, position)) != value:
            raise ChainBroken(f"tree node {level}/{position} is wrong", code="ledger-node-wrong")
    return len(inner)


def _fetch(session: Session, wanted: Sequence[merkle.Coordinate]) -> dict[merkle.Coordinate, bytes]:
    """The nodes that are there of those asked for, in as few queries as it takes."""
    found: dict[merkle.Coordinate, bytes] = {}
    leaves = [position for level, position in wanted if level == 0]
    for portion in (leaves[k : k + _FETCH] for k in range(0, len(leaves), _FETCH)):
        rows = session.execute(
            select(LedgerEntryRow.position, LedgerEntryRow.leaf).where(LedgerEntryRow.position.in_(portion))
        )
        found |= {(0, position): merkle.leaf_hash(leaf) for position, leaf in rows}
    keys = {_key(level, position): (level, position) for level, position in wanted if level}
    for some in (list(keys)[k : k + _FETCH] for k in range(0, len(keys), _FETCH)):
        nodes = session.execute(
            select(LedgerNodeRow.coordinate, LedgerNodeRow.hash).where(LedgerNodeRow.coordinate.in_(some))
        )
        found |= {keys[key]: value for key, value in nodes}
    return found


def _key(level: int, position: int) -> int:
    return (level << 56) + position
