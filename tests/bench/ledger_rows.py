"""Ledgers as large as a house's after years, laid down at once: rows of real shape by raw inserts.

Every event is one that the product writes, with ids, moments and a head of its own; every leaf, node and head is what
`Ledger.append` would have stored, and checkpoints are signed by the house's own key. Indices that a load would keep
shuffling are made after it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Table, select, text, update

from evidence_store.canonical import canonical
from evidence_store.custody import Actor, ActorKind, CustodyEvent, Verb
from evidence_store.database.schema import (
    CustodyEventRow,
    LedgerCheckpointRow,
    LedgerEntryRow,
    LedgerHeadRow,
    LedgerNodeRow,
)
from evidence_store.identifiers import CaseNumber, EnrolmentId, InterviewId, new_interview_id, utc_text
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner
from evidence_store.ledger.ledger import Ledger
from evidence_store.ledger.proof import leaf_data
from tests.house import BEGAN, CASE, House

PORTION = 20_000
_APART_NS = 1_500_000_000
_ID, _INTERVIEW, _HEAD = "0" * 32, "1" * 12 + "4" + "1" * 3 + "8" + "1" * 15, "2" * 64
_AT, _TAKE = 987654321, 987654322


@dataclass(slots=True)
class Portion:
    """Rows of one stretch, by table, in the order of the schema's columns."""

    entries: list[tuple[int, bytes, bytes, bytes]]
    nodes: list[tuple[int, bytes]]
    events: list[tuple[object, ...]]
    checkpoints: list[tuple[int, bytes, int]]


class _Shape:
    """One kind of event: its body in pieces, and the columns of its row."""

    def __init__(self, verb: Verb, actor: Actor, reason: str | None, details: dict[str, object]) -> None:
        event = CustodyEvent(
            verb, 0, actor, InterviewId(_INTERVIEW), CaseNumber(CASE), reason=reason, details=details, id=_ID
        )
        self._body = event.body().replace(utc_text(0).encode(), b"%(at)s").replace(_ID.encode(), b"%(id)s")
        self._body = self._body.replace(_INTERVIEW.encode(), b"%(interview)s").replace(_HEAD.encode(), b"%(head)s")
        self._body = self._body.replace(b"%d" % _AT, b"%(t)s").replace(b"%d" % _TAKE, b"%(take)s")
        self._details = canonical(dict(details)).decode()
        self._actor = (actor.kind.value, actor.id, actor.name, actor.role)
        self._verb, self._reason = verb.value, reason

    def body(self, values: dict[bytes, bytes]) -> bytes:
        return self._body % values

    def row(self, index: int, event: str, at: int, interview: str, head: str) -> tuple[object, ...]:
        details = (
            self._details.replace(_HEAD, head).replace(str(_AT), str(index)).replace(str(_TAKE), str(take_of(index)))
        )
        return (index, event, self._verb, at, *self._actor, interview, CASE, self._reason, details)


def take_of(index: int) -> int:
    """Takes of about an hour and a half."""
    return 1 + index // 1_000


def _shapes() -> list[_Shape]:
    """A tenth of each: half of them minutes of recordings, the others what people did."""
    people = [
        Actor(ActorKind.PERSON, hashlib.sha256(b"%d" % each).hexdigest()[:32], f"Person {each}", "prosecutor")
        for each in range(5)
    ]
    recorders = [Actor.recorder(EnrolmentId(hashlib.sha256(b"r%d" % each).hexdigest()[:32])) for each in range(5)]
    minute: dict[str, object] = {"head": _HEAD, "i": _AT, "t": _AT, "take": _TAKE}
    shapes = [_Shape(Verb.MINUTE, each, None, minute) for each in recorders]
    shapes += [_Shape(Verb.MEDIA_VIEWED, each, "Forberedelse af retsmøde", {}) for each in people[:3]]
    shapes += [_Shape(Verb.INTERVIEW_SEARCHED, each, "Sagsbehandling", {"found": 3}) for each in people[3:]]
    return shapes


def rows(house: House, count: int, each: int) -> Iterator[Portion]:
    """Everything to insert so that the house's ledger has `count` more entries; what it has stays. `each`: how many
    entries a checkpoint stands for; the product signs one for each transaction, which is mostly one event."""
    ledger = house.store.book.ledger
    signer = ledger._signer
    assert signer is not None
    edge: list[tuple[int, bytes]] = []
    with house.store.book.reading() as session:
        size = 0
        for (leaf,) in session.execute(select(LedgerEntryRow.leaf).order_by(LedgerEntryRow.position)):
            _grow(edge, size, merkle.leaf_hash(leaf), lambda key, value: None)
            size += 1
    shapes = _shapes()
    interviews = [new_interview_id() for _ in range(max(10, count // 200))]
    last = size + count
    while size < last:
        portion = Portion([], [], [], [])
        random = os.urandom(80 * PORTION)
        for k in range(min(PORTION, last - size)):
            at = BEGAN + size * _APART_NS
            nonce, event = random[80 * k : 80 * k + 32], random[80 * k + 32 : 80 * k + 48].hex()
            head = random[80 * k + 48 : 80 * k + 80].hex()
            # Ten events of one interview follow on each other, then another has its turn.
            interview = interviews[(size // 10) * 7919 % len(interviews)]
            shape = shapes[size % len(shapes)]
            values = {
                b"at": utc_text(at).encode(), b"id": event.encode(), b"interview": interview.encode(),
                b"head": head.encode(), b"t": b"%d" % size, b"take": b"%d" % take_of(size),
            }  # fmt: skip
            body = shape.body(values)
            leaf = leaf_data(nonce, body)
            portion.entries.append((size, leaf, nonce, body))
            portion.events.append(shape.row(size, event, at, interview, head))
            _grow(edge, size, merkle.leaf_hash(leaf), lambda key, value: portion.nodes.append((key, value)))  # noqa: B023
            size += 1
            if size == last or size % each == 0:
                portion.checkpoints.append((size, _signed(ledger, signer, size, edge), at))
        yield portion


def root_of(edge: list[tuple[int, bytes]]) -> bytes:
    value = edge[-1][1]
    for _, left in reversed(edge[:-1]):
        value = merkle.node_hash(left, value)
    return value


def _signed(ledger: Ledger, signer: NoteSigner, size: int, edge: list[tuple[int, bytes]]) -> bytes:
    return Checkpoint(ledger.verifier.name, size, root_of(edge)).signed(signer).write()


def _grow(edge: list[tuple[int, bytes]], index: int, value: bytes, put: Callable[[int, bytes], None]) -> None:
    """A binary counter of complete subtrees, largest first: not the product's arithmetic, so that the two agree or
    the first append says that they do not."""
    level, position = 0, index
    while edge and edge[-1][0] == level:
        value = hashlib.sha256(b"\x01" + edge.pop()[1] + value).digest()
        level, position = level + 1, position // 2
        put(merkle.node_key(level, position), value)
    edge.append((level, value))


def load(house: House, count: int, each: int) -> None:
    """Lays them down. One transaction a portion; in PostgreSQL by COPY, with foreign keys looked at afterwards."""
    engine = house.store.book.database.engine
    tables = [cls.__table__ for cls in (LedgerEntryRow, LedgerNodeRow, CustodyEventRow, LedgerCheckpointRow)]
    with engine.connect() as connection, _without_indices(connection):
        for portion in rows(house, count, each):
            # A transaction begins with this: rows put in before it would be synced one by one.
            connection.execute(select(1))
            parts: tuple[Sequence[tuple[object, ...]], ...] = (
                portion.entries,
                portion.nodes,
                portion.events,
                portion.checkpoints,
            )
            for table, part in zip(tables, parts, strict=True):
                assert isinstance(table, Table)
                _insert(connection, table, part)
            size, note = portion.entries[-1][0] + 1, portion.checkpoints[-1][1]
            root = Checkpoint.open(note, house.store.book.ledger.verifier).root
            connection.execute(update(LedgerHeadRow).values(size=size, root=root))
            connection.commit()
    # A house that grew old has long written down what it took in: nothing of the load is left to be done meanwhile.
    settle = ["VACUUM ANALYZE", "CHECKPOINT"]
    if engine.dialect.name == "sqlite":
        settle = ["PRAGMA wal_checkpoint(TRUNCATE)"]
    with closing(engine.raw_connection()) as raw:
        for statement in settle:
            raw.cursor().execute(statement)


def _insert(connection: Connection, table: Table, part: Sequence[tuple[object, ...]]) -> None:
    columns = ", ".join(column.name for column in table.columns)
    raw = connection.connection.driver_connection
    assert raw is not None
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(table.columns))
        raw.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", part)  # noqa: S608
        return
    with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for row in part:
            copy.write_row(row)


@contextmanager
def _without_indices(connection: Connection) -> Iterator[None]:
    table = CustodyEventRow.__table__
    assert isinstance(table, Table)
    postgresql = connection.dialect.name == "postgresql"
    for index in table.indexes:
        index.drop(connection)
    if postgresql:
        connection.execute(text("ALTER TABLE custody_event DROP CONSTRAINT uq_custody_event_id"))
        connection.execute(
            text("ALTER TABLE custody_event DROP CONSTRAINT fk_custody_event_ledger_position_ledger_entry")
        )
        connection.execute(text("SET maintenance_work_mem = '512MB'"))
    else:
        connection.commit()
        # In memory while it is laid down: ids are random, and their index with them.
        connection.connection.driver_connection.execute("PRAGMA cache_size = -1500000")  # type: ignore[union-attr]
    connection.commit()
    yield
    for index in table.indexes:
        index.create(connection)
    if postgresql:
        connection.execute(text("ALTER TABLE custody_event ADD CONSTRAINT uq_custody_event_id UNIQUE (id)"))
        connection.execute(
            text(
                "ALTER TABLE custody_event ADD CONSTRAINT fk_custody_event_ledger_position_ledger_entry "
                "FOREIGN KEY (ledger_position) REFERENCES ledger_entry (position)"
            )
        )
    connection.commit()
    if not postgresql:
        connection.connection.driver_connection.execute("PRAGMA cache_size = -2000")  # type: ignore[union-attr]
