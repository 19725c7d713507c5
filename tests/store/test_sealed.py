"""The manifest: every take, every void number, every gap; made once, whatever crashes or comes at the same time."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from evidence_store.canonical import Record, parse
from evidence_store.copies.cms import check_cms
from evidence_store.custody import Verb
from evidence_store.database.schema import InterviewRow
from evidence_store.database.session import Database
from evidence_store.errors import NoSpace, OutOfReach
from evidence_store.sealed import Sealing, takes_of
from evidence_store.sealing.manifest import check_ml_dsa
from recorder.recovery import recover
from recorder.spool import Spool
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, crash, gap, record, tick

MINUTE = 60 * 10**9


def manifest_of(house: House, order: Order) -> Record:
    """The stored manifest, both signatures checked, and the hash that custody names."""
    store = house.store
    with store.book.reading() as session:
        row = session.get_one(InterviewRow, order.interview.hex())
        assert row.manifest_object is not None
        data = store.book.vault.get(row.manifest_object, row.manifest_sha256)
        (event,) = house.custody(Verb.INTERVIEW_SEALED)
        assert row.manifest_sha256 is not None
        assert event.event.details["manifest_sha256"] == row.manifest_sha256.hex()
    vault = store.book.vault
    check_cms(data, vault.get(f"{row.manifest_object}.p7s"), store.authority.store, store.authority.root)
    check_ml_dsa(data, vault.get(f"{row.manifest_object}.mldsa65"), store.authority.store_ml_dsa)
    return parse(data)


def seal(house: House, order: Order) -> bool:
    return house.store.sealing.seal(order.interview.hex())


def broken_interview(house: House, order: Order) -> None:
    """Crashed, void, crashed without media, stopped: in four minutes, with a loss in the first take."""
    spool, device = house.spool(), house.device()
    sealer = begin(house, spool, order)
    for t in range(10):
        sealer.write(tick(t, [gap(3, 4)] if t == 5 else ()))
    sealer.forget()
    spool.new_take(device.enrolment)
    recover(spool, device, BEGAN + MINUTE)
    begin(house, spool, order, began=BEGAN + 2 * MINUTE).forget()
    recover(spool, device, BEGAN + 3 * MINUTE)
    record(house, spool, order, ticks=9, began=BEGAN + 4 * MINUTE)
    for take in spool.takes():
        house.deliver(take)


def test_every_take_void_ones_too_is_in_the_manifest_and_every_gap_with_both_times(house: House, order: Order) -> None:
    broken_interview(house, order)
    assert seal(house, order)
    found = manifest_of(house, order)
    assert [(each["take"], each["how"], each["ticks"]) for each in found["takes"]] == [
        (1, "crashed", 10), (2, "void", 0), (3, "crashed", 0), (4, "stopped", 10),
    ]  # fmt: skip
    assert [each["start"] is None for each in found["takes"]] == [False, True, False, False]
    again, back = str(BEGAN + 2 * MINUTE), str(BEGAN + 4 * MINUTE)
    assert found["gaps"] == [
        {
            "from": str(BEGAN + 3 * TICK_NS), "reason": "loss", "take": 1, "to": str(BEGAN + 4 * TICK_NS),
            "track": "wide-video",
        },
        {"from": str(BEGAN + 10 * TICK_NS), "reason": "crashed", "take": 1, "to": again, "track": None},
        {"from": again, "reason": "crashed", "take": 3, "to": back, "track": None},
    ]  # fmt: skip
    assert house.findings() == {}
    with house.store.book.reading() as session:
        assert [each.n for each in takes_of(session, order.interview.hex())] == [1, 2, 3, 4]


def test_what_the_manifest_says_of_a_void_number_agrees_with_its_close(house: House, order: Order) -> None:
    from evidence_store.sealing.check import check_close

    broken_interview(house, order)
    seal(house, order)
    void, device = manifest_of(house, order)["takes"][1], house.device().certificates
    close = house.store.book.vault.get(f"takes/{void['enrolment']}/000002/close.json")
    assert check_close(close, device.device, device.device_ml_dsa, None).close_hash.hex() == void["close"]


def test_an_end_that_crashed_and_never_came_back_is_a_gap_without_an_end(
    house: House, spool: Spool, order: Order
) -> None:
    from evidence_store.intake import end

    crash(house, spool, order, ticks=4)
    recover(spool, house.device(), BEGAN + MINUTE)
    house.deliver(spool.takes()[0])
    with house.store.book.database.writing() as session:
        end(session.get_one(InterviewRow, order.interview.hex()))
    assert seal(house, order)
    (left,) = manifest_of(house, order)["gaps"]
    assert (left["from"], left["to"]) == (str(BEGAN + 4 * TICK_NS), None)


@pytest.mark.parametrize("whole_ticks", [4, 9], ids=["gone", "held up behind a lost packet"])
def test_a_track_that_ended_before_the_crash_has_its_own_gap_from_there(
    house: House, spool: Spool, order: Order, whole_ticks: int
) -> None:
    sealer = begin(house, spool, order)
    for t in range(10):
        whole = tick(t)
        sealer.write(
            whole if t < whole_ticks else replace(whole, messages=[each for each in whole.messages if each.track == 1])
        )
    sealer.forget()
    recover(spool, house.device(), BEGAN + MINUTE)
    record(house, spool, order, ticks=4, began=BEGAN + MINUTE)
    for take in spool.takes():
        house.deliver(take)
    assert seal(house, order)
    gone, dead, back = (str(BEGAN + at) for at in (whole_ticks * TICK_NS, 10 * TICK_NS, MINUTE))
    assert manifest_of(house, order)["gaps"] == [
        {"from": gone, "reason": "crashed", "take": 1, "to": dead, "track": "wide-video"},
        {"from": dead, "reason": "crashed", "take": 1, "to": back, "track": None},
    ]


def test_nothing_is_sealed_while_a_take_is_open_or_on_its_way(house: House, order: Order) -> None:
    spool, device = house.spool(), house.device()
    crashed = crash(house, spool, order)
    recover(spool, device, BEGAN)
    last = record(house, spool, order)
    assert not seal(house, order)
    house.deliver(last)
    assert house.state(order) == "ended"
    assert not seal(house, order), "the take before it, which its start names, has not been seen"
    house.deliver(crashed)
    house.store.intake.heartbeat(device.heartbeat(3, None, BEGAN))
    assert not seal(house, order), "the device has named one more, which may be of this interview"
    after = record(house, spool, house.interview())
    house.deliver(after)
    assert seal(house, order)
    assert len(manifest_of(house, order)["takes"]) == 2


def test_sealing_again_changes_nothing(house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order))
    assert seal(house, order)
    before = manifest_of(house, order)
    assert seal(house, order)
    assert manifest_of(house, order) == before
    assert house.state(order) == "sealed"


def test_everybody_at_once_seals_once(house: House, spool: Spool, order: Order) -> None:
    """In one process, and in several that share the store: replicas of the application."""
    house.deliver(record(house, spool, order))
    sealings = [house.store.sealing, *(Sealing(house.store.book, house.store.authority) for _ in range(3))]
    ready = threading.Barrier(8)

    def one(at: int) -> bool:
        ready.wait()
        return sealings[at % 4].seal(order.interview.hex())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [True] * 8
    manifest_of(house, order)
    assert house.findings() == {}


@pytest.mark.parametrize("objects", [0, 1, 2, 3])
def test_a_crash_between_the_manifests_objects_and_the_database_is_made_good(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    house.deliver(record(house, spool, order))
    vault, left = type(house.store.book.vault), [objects]
    put = vault.put

    def dying(self: Any, name: str, data: bytes) -> Any:
        if left[0] == 0:
            raise NoSpace("stand-in for a crash", code="vault-full")
        left[0] -= 1
        return put(self, name, data)

    @contextmanager
    def away(self: Database) -> Any:
        raise OutOfReach("stand-in for a crash")
        yield

    with monkeypatch.context() as patched:
        if objects < 3:
            patched.setattr(vault, "put", dying)
        else:
            patched.setattr(Database, "writing", away)
        with pytest.raises((NoSpace, OutOfReach)):
            seal(house, order)
    assert house.state(order) == "ended"
    assert seal(house, order)
    assert manifest_of(house, order)["number"] == 1
    assert house.findings() == {}


def test_a_manifest_that_a_crash_left_and_a_later_take_outdated_is_not_used(
    house: House, spool: Spool, order: Order
) -> None:
    first = record(house, spool, order)
    house.deliver(first)
    kept = house.folder / "kept"
    database = house.folder / "store" / "vidne.sqlite"
    house.close()
    shutil.copy(database, kept)
    house.open()
    seal(house, order)
    house.close()
    # Back to before: what a crash between the objects and the commit leaves.
    for name in ("", "-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    shutil.copy(kept, database)
    for path in sorted((house.vault / "ledger" / "checkpoints").iterdir())[-1:]:
        path.unlink()
    house.open()
    house.deliver(record(house, spool, order, began=BEGAN + MINUTE))
    assert seal(house, order)
    assert [manifest_of(house, order)[name] for name in ("number",)] == [2]
    assert house.findings() == {}
