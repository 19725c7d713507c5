"""The ledger in a database: what it promises, and what an administrator with SQL can do to it without being seen."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from evidence_store.database.session import Database
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, SignatureInvalid, Unavailable
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner
from evidence_store.ledger.ledger import Ledger
from evidence_store.ledger.proof import Proof
from evidence_store.ledger.rebuild import PORTION, LedgerReport
from tests.administrator import typed

AT = 1_795_314_481_000_000_000


def fill(database: Database, ledger: Ledger, count: int, word: str = "entry") -> range:
    with database.writing() as session:
        return ledger.append(session, [f"{word} {k}".encode() for k in range(count)])


def sign(database: Database, ledger: Ledger) -> bytes:
    with database.writing() as session:
        return ledger.checkpoint(session, AT)


def verify(database: Database, ledger: Ledger) -> LedgerReport:
    with database.reading() as session:
        return ledger.verify_all(session)


def test_empty_ledger(database: Database, ledger: Ledger) -> None:
    assert verify(database, ledger) == LedgerReport(0, merkle.EMPTY_ROOT, 0, 0, 0)
    note = sign(database, ledger)
    assert Checkpoint.open(note, ledger.verifier) == Checkpoint("example.org/vidne", 0, merkle.EMPTY_ROOT)
    assert fill(database, ledger, 0) == range(0)
    with database.reading() as session, pytest.raises(NotFound):
        ledger.prove(session, 0)


def test_every_entry_is_proved_offline_at_every_size(database: Database, ledger: Ledger) -> None:
    notes = {}
    for batch in (1, 1, 2, 3, 1, 8, 5, 16, 1):
        fill(database, ledger, batch)
        note = sign(database, ledger)
        size = Checkpoint.open(note, ledger.verifier).size
        notes[size] = note
        with database.reading() as session:
            for index in range(size):
                entry = ledger.entry(session, index)
                assert entry.body is not None
                proof = Proof.parse(ledger.prove(session, index).write())
                assert proof.verify_body(entry.body, ledger.verifier).size == size
    with database.reading() as session:
        for old, new in itertools.combinations(notes, 2):
            roots = [Checkpoint.open(notes[size], ledger.verifier).root for size in (old, new)]
            merkle.verify_consistency(old, new, ledger.consistency(session, old, new), roots[0], roots[1])
            ledger.check_against(session, notes[old])
        with pytest.raises(InvalidInput):
            ledger.consistency(session, 1, 39)
    assert verify(database, ledger).size == 38
    assert verify(database, ledger).signed_size == 38


def test_root_is_that_of_a_tree_built_at_once(database: Database, ledger: Ledger) -> None:
    for batch in (3, 4, 20, 1):
        fill(database, ledger, batch)
    with database.reading() as session:
        leaves = [merkle.leaf_hash(entry.leaf) for entry in ledger.entries(session)]
    nodes = {(level, at): value for level, at, value in merkle.completed_nodes(0, leaves, merkle.reader({}))}
    assert verify(database, ledger).root == merkle.root(28, merkle.reader(nodes))


def test_same_size_gives_the_same_note(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 3)
    assert sign(database, ledger) == sign(database, ledger)
    assert verify(database, ledger).checkpoints == 1


def test_an_entry_that_no_checkpoint_covers_has_no_proof_yet(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 1)
    with database.reading() as session, pytest.raises(Unavailable) as refused:
        ledger.prove(session, 0)
    assert refused.value.code == "ledger-unsigned"
    sign(database, ledger)
    fill(database, ledger, 1)
    with database.reading() as session:
        assert ledger.prove(session, 0).index == 0
        with pytest.raises(Unavailable):
            ledger.prove(session, 1)


def test_without_the_private_key_everything_but_signing(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 5)
    note = sign(database, ledger)
    auditor = Ledger(ledger.verifier)
    assert verify(database, auditor).size == 5
    with database.reading() as session:
        assert auditor.prove(session, 2).checkpoint == note
        assert auditor.latest_checkpoint(session) == note
    with pytest.raises(Unavailable) as refused:
        sign(database, auditor)
    assert refused.value.code == "ledger-read-only"


def test_a_transaction_that_fails_leaves_nothing(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 3)
    with pytest.raises(InvalidInput), database.writing() as session:  # noqa: PT012 - the first act is what is undone
        assert ledger.append(session, [b"x"]) == range(3, 4)
        ledger.append(session, [b"x", bytes(2 * 1024 * 1024)])
    assert verify(database, ledger).size == 3


def test_threads_append_one_at_a_time(database: Database, ledger: Ledger) -> None:
    gate = threading.Barrier(8)

    def append(worker: int) -> list[int]:
        gate.wait()
        indices: list[int] = []
        for k in range(12):
            with database.writing() as session:
                indices.extend(ledger.append(session, [f"{worker}/{k}/{part}".encode() for part in range(2)]))
            if k % 5 == 0:
                sign(database, ledger)
        return indices

    with ThreadPoolExecutor(8) as pool:
        indices = [index for made in pool.map(append, range(8)) for index in made]
    assert sorted(indices) == list(range(192))
    assert verify(database, ledger).size == 192


def test_two_appends_in_one_transaction(database: Database, ledger: Ledger) -> None:
    with database.writing() as session:
        assert ledger.append(session, [b"a"]) == range(1)
        assert ledger.append(session, [b"b", b"c"]) == range(1, 3)
        ledger.checkpoint(session, AT)
    assert verify(database, ledger).signed_size == 3


def test_erased_bodies_are_gone_and_proofs_stand(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    fill(database, ledger, 9, "ordinary")
    with database.writing() as session:
        index = ledger.append(session, [b"SECRET-TO-BE-ERASED"])[0]
    note = sign(database, ledger)
    with database.reading() as session:
        handed_out = ledger.prove(session, index)
    with database.writing() as session:
        ledger.erase_body(session, index)
    with database.reading() as session:
        entry = ledger.entry(session, index)
        assert (entry.nonce, entry.body) == (None, None)
        proof = ledger.prove(session, index)
        assert proof.extra is None
        proof.verify(entry.leaf, ledger.verifier)
        ledger.check_against(session, note)
    assert handed_out.verify_body(b"SECRET-TO-BE-ERASED", ledger.verifier).size == 10
    assert verify(database, ledger).erased == 1
    fill(database, ledger, 3)
    with pytest.raises(NotFound), database.writing() as session:
        ledger.erase_body(session, 99)
    if database.engine.dialect.name != "sqlite":
        return  # a server's files keep old rows until it vacuums them: docs/operations.md#postgresql
    database.close()  # the last connection folds the WAL into the file
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"ordinary 8" in left
    assert b"SECRET-TO-BE-ERASED" not in left


ATTACKS: dict[str, tuple[str, str]] = {
    "body_edited": ("UPDATE ledger_entry SET body = x'00' WHERE position = 4", "ledger-entry-altered"),
    "nonce_edited": ("UPDATE ledger_entry SET nonce = zeroblob(32) WHERE position = 4", "ledger-entry-altered"),
    "nonce_erased_alone": ("UPDATE ledger_entry SET nonce = NULL WHERE position = 4", "ledger-entry-altered"),
    "leaf_edited": ("UPDATE ledger_entry SET leaf = zeroblob(32) WHERE position = 4", "ledger-entry-altered"),
    "erased_and_leaf_edited": (
        "UPDATE ledger_entry SET leaf = zeroblob(32), nonce = NULL, body = NULL WHERE position = 4",
        "ledger-node-wrong",
    ),
    "first_deleted": ("DELETE FROM ledger_entry WHERE position = 0", "ledger-entry-missing"),
    "middle_deleted": ("DELETE FROM ledger_entry WHERE position = 4", "ledger-entry-missing"),
    "last_deleted": ("DELETE FROM ledger_entry WHERE position = 10", "ledger-head-wrong"),
    "one_inserted": ("INSERT INTO ledger_entry VALUES (11, zeroblob(32), NULL, NULL)", "ledger-node-wrong"),
    "node_edited": ("UPDATE ledger_node SET hash = zeroblob(32) WHERE coordinate = 1", "ledger-node-wrong"),
    "node_deleted": ("DELETE FROM ledger_node WHERE coordinate = 2", "ledger-node-wrong"),
    "node_inserted": ("INSERT INTO ledger_node VALUES (9 << 56, zeroblob(32))", "ledger-node-wrong"),
    "head_root_edited": ("UPDATE ledger_head SET root = zeroblob(32)", "ledger-head-wrong"),
    "head_size_edited": ("UPDATE ledger_head SET size = 10", "ledger-head-wrong"),
    "head_deleted": ("DELETE FROM ledger_head", "ledger-head-wrong"),
    "note_of_another_size": ("UPDATE ledger_checkpoint SET size = 5 WHERE size = 7", "ledger-rewritten"),
    "note_ahead": ("UPDATE ledger_checkpoint SET size = 99 WHERE size = 7", "ledger-rolled-back"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_edited_rows_are_found(database: Database, ledger: Ledger, attack: str) -> None:
    fill(database, ledger, 7)
    sign(database, ledger)
    fill(database, ledger, 4)
    statement, code = ATTACKS[attack]
    typed(database, statement)
    with pytest.raises(ChainBroken) as found:
        verify(database, ledger)
    assert found.value.code == code


@pytest.mark.parametrize("key", [255, 256 + 255, 128, (1 << 56) + 255])
def test_a_node_planted_where_none_belongs_is_found(database: Database, ledger: Ledger, key: int) -> None:
    """In a tile's free place too, which is no node's."""
    fill(database, ledger, 600)
    typed(database, f"DELETE FROM ledger_node WHERE coordinate = {key}")  # noqa: S608 - the test is the attacker
    typed(database, f"INSERT INTO ledger_node VALUES ({key}, zeroblob(32))")  # noqa: S608
    with pytest.raises(ChainBroken) as found:
        verify(database, ledger)
    assert found.value.code == "ledger-node-wrong"


def test_edited_note_is_found(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 7)
    edited = sign(database, ledger).replace(b"\n7\n", b"\n6\n")
    typed(database, f"UPDATE ledger_checkpoint SET note = x'{edited.hex()}'")  # noqa: S608 - the test is the attacker
    with pytest.raises(SignatureInvalid):
        verify(database, ledger)
    with pytest.raises(SignatureInvalid):
        fill(database, ledger, 1)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE ledger_head SET root = zeroblob(32)", "ledger-head-wrong"),
        ("UPDATE ledger_head SET size = 10", "ledger-head-wrong"),
        ("DELETE FROM ledger_entry WHERE position = 10", "ledger-head-wrong"),
        ("DELETE FROM ledger_node WHERE coordinate = 3", "ledger-node-missing"),
        ("UPDATE ledger_node SET hash = zeroblob(32) WHERE coordinate = 3", "ledger-head-wrong"),
    ],
)
def test_nothing_is_appended_to_nor_signed_over_a_touched_tree(
    database: Database, ledger: Ledger, statement: str, code: str
) -> None:
    fill(database, ledger, 7)
    sign(database, ledger)
    fill(database, ledger, 4)
    typed(database, statement)
    for act in (lambda: fill(database, ledger, 1), lambda: sign(database, ledger)):
        with pytest.raises(ChainBroken) as refused:
            act()
        assert refused.value.code == code


def rebuild(database: Database, ledger: Ledger, bodies: list[bytes]) -> None:
    """An administrator who knows this code throws the rows away and appends others, in good order."""
    typed(
        database,
        "DELETE FROM ledger_entry",
        "DELETE FROM ledger_node",
        "DELETE FROM ledger_checkpoint",
        f"UPDATE ledger_head SET size = 0, root = x'{merkle.EMPTY_ROOT.hex()}'",  # noqa: S608 - the test is the attacker
    )
    with database.writing() as session:
        ledger.append(session, bodies)


@pytest.mark.parametrize(
    ("count", "code"), [(7, "ledger-rewritten"), (9, "ledger-rewritten"), (6, "ledger-rolled-back")]
)
def test_whole_log_rewritten_is_found_by_a_checkpoint_kept_elsewhere(
    database: Database, ledger: Ledger, count: int, code: str
) -> None:
    fill(database, ledger, 7)
    kept = sign(database, ledger)
    rebuild(database, ledger, [b"other"] * count)
    sign(database, ledger)
    assert verify(database, ledger).size == count  # in good order, in itself
    with database.reading() as session, pytest.raises(ChainBroken) as found:
        ledger.check_against(session, kept)
    assert found.value.code == code


def test_rewritten_with_its_old_checkpoint_left_standing(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 7)
    note = sign(database, ledger)
    rebuild(database, ledger, [b"other"] * 9)
    typed(database, f"INSERT INTO ledger_checkpoint VALUES (7, x'{note.hex()}', 0)")  # noqa: S608 - the test is the attacker
    for act in (lambda: verify(database, ledger), lambda: fill(database, ledger, 1), lambda: sign(database, ledger)):
        with pytest.raises(ChainBroken) as found:
            act()
        assert found.value.code == "ledger-rewritten"


def test_another_key_signs_another_log(database: Database, ledger: Ledger) -> None:
    fill(database, ledger, 2)
    sign(database, ledger)
    stranger = Ledger(NoteSigner("example.org/vidne", Ed25519PrivateKey.generate()))
    acts: list[Callable[[], object]] = [
        lambda: fill(database, stranger, 1),
        lambda: sign(database, stranger),
        lambda: verify(database, stranger),
    ]
    for act in acts:
        with pytest.raises(SignatureInvalid):
            act()


def test_portions_do_not_show(database: Database, ledger: Ledger) -> None:
    """More than one portion of the scan, with a checkpoint in the middle of the second."""
    fill(database, ledger, PORTION + 400)
    sign(database, ledger)
    fill(database, ledger, 900)
    report = verify(database, ledger)
    assert (report.size, report.signed_size) == (PORTION + 1_300, PORTION + 400)
    typed(database, f"UPDATE ledger_entry SET body = x'00' WHERE position = {PORTION + 1_200}")  # noqa: S608
    with pytest.raises(ChainBroken, match=str(PORTION + 1_200)):
        verify(database, ledger)


@pytest.mark.parametrize("act", ["UPDATE ledger_head SET size = 7", "DELETE FROM ledger_head"])
def test_a_head_that_moved_under_an_append_takes_none(database: Database, ledger: Ledger, act: str) -> None:
    """Whoever writes past the lock that all writers of ours hold must not fork the tree."""

    def moved() -> None:
        with database.writing() as session:
            ledger.append(session, [b"one"])
            session.execute(text(act))
            ledger.append(session, [b"two"])

    with pytest.raises(Conflict) as refused:
        moved()
    assert refused.value.code == "ledger-moved"
    with database.reading() as session:
        assert ledger.verify_all(session).size == 0


def test_a_node_at_no_place_stops_no_append(database: Database, ledger: Ledger) -> None:
    """Somebody put it there: the audit finds it, and recordings go on."""
    fill(database, ledger, 3)
    with database.writing() as session:
        session.execute(text("INSERT INTO ledger_node (coordinate, hash) VALUES (-1, :hash)"), {"hash": bytes(32)})
    assert fill(database, ledger, 2) == range(3, 5)
    with pytest.raises(ChainBroken):
        verify(database, ledger)
