"""The ledger in the database: append, sign, prove, check. Format: docs/formats/ledger.md.

A leaf commits to nonce ‖ body, so that a body can be erased while every proof goes on standing. Appends are one at a
time: who writes keeps all others waiting from the first read to the commit (`Database.writing`), and a head that moved
all the same takes no append. A transaction that dies leaves nothing; there is no half an append to recover from.

What a signature does not cover yet, an administrator can rewrite: sign often, and give the checkpoint to others.
Keeping the note in the vault and with witnesses is the caller's work.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from sqlalchemy import BigInteger, LargeBinary, bindparam, func, insert, literal_column, select, text, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evidence_store.database.schema import (
    CustodyEventRow,
    LedgerCheckpointRow,
    LedgerEntryRow,
    LedgerHeadRow,
    LedgerNodeRow,
)
from evidence_store.database.session import sending
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, Unavailable
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner, NoteVerifier
from evidence_store.ledger.proof import NONCE_SIZE, Proof, leaf_data
from evidence_store.ledger.rebuild import LedgerReport, Rebuild, Signatures, portions

MAX_BODY: Final = 1024 * 1024
_FETCH: Final = 256
_TREE: Final = "vidne-ledger-tree"

# What every entry asks, laid out once and of tables, not of objects: putting a question together costs more than
# answering it.
_ENTRIES, _NODES = LedgerEntryRow.__table__, LedgerNodeRow.__table__
_HEADS, _NOTES = LedgerHeadRow.__table__, LedgerCheckpointRow.__table__
_HEAD = select(_HEADS.c.size, _HEADS.c.root).where(_HEADS.c.id == 1)
_LAST_ENTRY = select(func.max(_ENTRIES.c.position).label("last"))
_NEWEST_NOTE = select(_NOTES.c.note).order_by(_NOTES.c.size.desc()).limit(1)
# In one question: over a network each costs the way there and back.
_STATE = select(_HEADS.c.size, _HEADS.c.root, _LAST_ENTRY.scalar_subquery(), _NEWEST_NOTE.scalar_subquery()).where(
    _HEADS.c.id == 1
)
# Leaves and inner nodes in one question too.
_PARTS = union_all(
    select(_ENTRIES.c.position, _ENTRIES.c.leaf, literal_column("0")).where(
        _ENTRIES.c.position.in_(bindparam("leaves", expanding=True))
    ),
    select(_NODES.c.coordinate, _NODES.c.hash, literal_column("1")).where(
        _NODES.c.coordinate.in_(bindparam("inner", expanding=True))
    ),
)
_ENTRY = select(_ENTRIES.c.position, _ENTRIES.c.leaf, _ENTRIES.c.nonce, _ENTRIES.c.body).where(
    _ENTRIES.c.position == bindparam("index")
)
_ENTER, _KEEP_NODES, _SIGN = insert(LedgerEntryRow), insert(LedgerNodeRow), insert(LedgerCheckpointRow)
# Names the size it grows from. Should a database let two appends in, or the head be gone, it would become one without
# a size, which no database of ours takes: it fails by itself, wherever its answer is waited for.
_GROW = text(
    "INSERT INTO ledger_head (id, size, root) "
    "VALUES (1, (SELECT CASE WHEN size = :old THEN :new END FROM ledger_head WHERE id = 1), :grown) "
    "ON CONFLICT (id) DO UPDATE SET size = excluded.size, root = excluded.root"
).bindparams(
    bindparam("old", type_=BigInteger), bindparam("new", type_=BigInteger), bindparam("grown", type_=LargeBinary)
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as stored. Nonce and body are None once the body has been erased."""

    index: int
    leaf: bytes
    nonce: bytes | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class _Tree:
    """The tree in one transaction: the nodes at its edge at least, and the note that signs it as it is, if one does."""

    size: int
    root: bytes
    nodes: dict[merkle.Coordinate, bytes]
    note: bytes | None


class Ledger:
    """The tree of one log. Holds no state but the key, and the note that it opened last: every method works on the
    session it is given. Safe for threads, each with a session of its own.

    With a NoteSigner it signs checkpoints; with a NoteVerifier it can do everything else.
    """

    def __init__(self, key: NoteSigner | NoteVerifier) -> None:
        self._signer = key if isinstance(key, NoteSigner) else None
        self.verifier = key.verifier if isinstance(key, NoteSigner) else key
        self._opened: tuple[bytes, Checkpoint] | None = None

    def look(self, session: Session) -> None:
        """Asks what `append` and `checkpoint` have to know. Those that follow in this transaction ask nothing more, and
        may be in a block that is `sending`. Raises ChainBroken as they do."""
        self._trusted(session)

    def append(self, session: Session, bodies: Sequence[bytes]) -> range:
        """Appends entries in order, in the session's transaction; returns their indices.

        Durable when that transaction has committed, and not before. Raises ChainBroken when the stored tree does
        not agree with its head or its last checkpoint: nothing is appended to a tree that somebody has touched.
        Conflict `ledger-moved` when it grew meanwhile.
        """
        if any(len(body) > MAX_BODY for body in bodies):
            raise InvalidInput("a ledger body has at most one MiB", code="body-too-large")
        tree = self._trusted(session)
        old, new, nodes = tree.size, tree.size + len(bodies), dict(tree.nodes)
        nonces = [secrets.token_bytes(NONCE_SIZE) for _ in bodies]
        leaves = [leaf_data(nonce, body) for nonce, body in zip(nonces, bodies, strict=True)]
        if not leaves:
            return range(old, old)
        completed = list(merkle.completed_nodes(old, map(merkle.leaf_hash, leaves), merkle.reader(nodes)))
        nodes |= {(level, at): value for level, at, value in completed}
        grown_root = merkle.root(new, merkle.reader(nodes))
        entries = [
            {"position": old + k, "leaf": leaf, "nonce": nonces[k], "body": bytes(bodies[k])}
            for k, leaf in enumerate(leaves)
        ]
        inner = [{"coordinate": merkle.node_key(level, at), "hash": value} for level, at, value in completed if level]
        database = session.connection()
        with entering(session):
            database.execute(_ENTER, entries)
            if inner:
                database.execute(_KEEP_NODES, inner)
            database.execute(_GROW, {"old": old, "new": new, "grown": grown_root})
        self._remember(session, _Tree(new, grown_root, {at: nodes[at] for at in merkle.frontier(new)}, None))
        return range(old, new)

    def checkpoint(self, session: Session, at: int) -> bytes:
        """Signs the tree as it is (`at`: nanoseconds UTC, for our own records) and returns the signed note.

        The same size gives the same note again. Checked first to continue the checkpoint before it: a log that signs
        two trees that contradict each other is finished. Raises Unavailable without a private key, ChainBroken.
        """
        if self._signer is None:
            raise Unavailable("this ledger has no key to sign with", code="ledger-read-only")
        tree = self._trusted(session)
        if tree.note is not None:
            return tree.note
        made = Checkpoint(self.verifier.name, tree.size, tree.root)
        note = made.signed(self._signer).write()
        session.connection().execute(_SIGN, {"size": tree.size, "note": note, "signed_at": at})
        self._remember(session, replace(tree, note=note))
        self._opened = (note, made)
        return note

    def size_of(self, note: bytes) -> int:
        """Of a checkpoint of this log. Raises InvalidInput, SignatureInvalid."""
        return self._open(note).size

    def latest_checkpoint(self, session: Session) -> bytes | None:
        """The last note that was signed, or None. Not verified here."""
        note: bytes | None = session.connection().execute(_NEWEST_NOTE).scalar()
        return note

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

    def prove_in(self, session: Session, index: int, note: bytes) -> Proof:
        """As `prove`, in the tree of an earlier checkpoint of this log: what it covered when it was signed.

        Raises NotFound `ledger-entry` for an entry that came later, SignatureInvalid for a note of another log.
        """
        entry, size = self.entry(session, index), Checkpoint.open(note, self.verifier).size
        if index >= size:
            raise NotFound("the checkpoint does not cover this entry", code="ledger-entry")
        wanted = merkle.coordinates(lambda node: merkle.inclusion_proof(index, size, node))
        hashes = merkle.inclusion_proof(index, size, merkle.reader(_fetch(session, wanted)))
        proof = Proof(index, tuple(hashes), note, entry.nonce)
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
        row = session.connection().execute(_ENTRY, {"index": index}).one_or_none()
        if row is None:
            raise NotFound("no such ledger entry", code="ledger-entry")
        return Entry(*row)

    def entries(self, session: Session, start: int = 0) -> Iterator[Entry]:
        """Every entry from `start` on, in order, read in portions: a missing one shows as a jump of the index."""
        for portion in portions(session, start):
            for row in portion:
                yield Entry(*row)

    def erase_body(self, session: Session, index: int) -> None:
        """Takes nonce and body out of the database for good; the leaf stays, and so does every proof.

        Deciding that it may be done, and attesting it, is the caller's. Raises NotFound `ledger-entry`.
        """
        if session.get(LedgerEntryRow, index) is None:
            raise NotFound("no such ledger entry", code="ledger-entry")
        session.execute(
            update(LedgerEntryRow).where(LedgerEntryRow.position == index).values(nonce=None, body=None),
        )

    def verify_all(self, session: Session, told: Callable[[int], None] = lambda done: None) -> LedgerReport:
        """Rebuilds the tree from the entries and checks everything stored against it.

        1. Entries count from 0 without holes, and each leaf is made of its nonce and body, unless both are erased.
        2. Every stored node is that of the rebuilt tree, and there is no other. 3. The head is its size and root.
        4. Every checkpoint is signed by this log and has the root that the tree had at that size.
        Raises ChainBroken (codes `ledger-…`) or SignatureInvalid, at the first that is wrong. `told`: called with how
        many entries are done, now and then.
        """
        rebuild = Rebuild(session)
        with self.signatures() as signatures:
            for signed in rebuild.signed():
                signatures.check(signed)
                told(rebuild.size)
        return rebuild.ends()

    def signatures(self) -> Signatures:
        return Signatures(self._signer or self.verifier)

    def _head(self, session: Session) -> Any:
        return _there(session.connection().execute(_HEAD).one_or_none())

    def _root_at(self, session: Session, size: int) -> bytes:
        return merkle.root(size, merkle.reader(_fetch(session, merkle.frontier(size))))

    def _open(self, note: bytes) -> Checkpoint:
        """As `Checkpoint.open`. The note that was opened last is known: every append meets the one before it again."""
        known = self._opened
        if known is not None and known[0] == note:
            return known[1]
        opened = Checkpoint.open(note, self.verifier)
        self._opened = (note, opened)
        return opened

    def _trusted(self, session: Session) -> _Tree:
        """The tree as it is, once its locked head, the nodes at its edge and the last checkpoint agree with each other.

        What this transaction has seen or made of it holds until it ends: nobody else can change it meanwhile.
        """
        transaction = session.get_transaction()
        known = session.info.get(_TREE)
        if known is not None and known[0] is transaction:
            return cast("_Tree", known[1])
        head = _there(session.connection().execute(_STATE).one_or_none())
        last, note = head[2], head[3]
        if head.size != (0 if last is None else last + 1):
            raise ChainBroken("the ledger's head is not that of its entries", code="ledger-head-wrong")
        signed = None if note is None else self._open(note)
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
        tree = _Tree(head.size, head.root, nodes, None if signed is None or signed.size < head.size else note)
        return self._remember(session, tree)

    def _remember(self, session: Session, tree: _Tree) -> _Tree:
        # By the transaction itself, which is another one once this has been committed or rolled back.
        session.info[_TREE] = (session.get_transaction(), tree)
        return tree


@contextmanager
def entering(session: Session) -> Iterator[None]:
    """A block that is `sending` entries and their events. Raises Conflict: `ledger-moved` where the ledger grew
    meanwhile, `event-exists` for an event's id that is there already."""
    try:
        with sending(session):
            yield
    except IntegrityError as error:
        table = _table_of(error)
        if table == CustodyEventRow.__tablename__:
            raise Conflict("an event with this id is there already", code="event-exists") from error
        if table.startswith("ledger_"):
            raise Conflict("the ledger grew meanwhile", code="ledger-moved") from error
        raise


def _table_of(error: IntegrityError) -> str:
    """Whose constraint it was: PostgreSQL says it beside, SQLite at the end as `table.column`."""
    said = getattr(error.orig, "diag", None)
    return str(said.table_name) if said is not None else str(error.orig).rpartition(": ")[2].partition(".")[0]


def _there(head: Any) -> Any:
    """A row, of whichever columns."""
    if head is None:
        raise ChainBroken("the ledger's head is missing", code="ledger-head-wrong")
    return head


def _fetch(session: Session, wanted: Sequence[merkle.Coordinate]) -> dict[merkle.Coordinate, bytes]:
    """The nodes that are there of those asked for, in as few queries as it takes."""
    found: dict[merkle.Coordinate, bytes] = {}
    leaves = [position for level, position in wanted if level == 0]
    keys = {merkle.node_key(level, position): (level, position) for level, position in wanted if level}
    inner = list(keys)
    for k in range(0, max(len(leaves), len(inner)), _FETCH):
        asked = {"leaves": _padded(leaves[k : k + _FETCH]), "inner": _padded(inner[k : k + _FETCH])}
        for key, value, kind in session.connection().execute(_PARTS, asked):
            if key < 0:
                continue  # the padding's, which is no place: somebody's own, for the audit to find
            if kind:
                found[keys[key]] = value
            else:
                found[0, key] = merkle.leaf_hash(value)
    return found


def _padded(wanted: list[int]) -> list[int]:
    """To one of few lengths, so that databases meet the same question again and need not think how to answer it."""
    return wanted + [-1] * (max(4, 1 << (len(wanted) - 1).bit_length()) - len(wanted))
