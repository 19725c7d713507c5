"""Long work goes on after kill −9: seen to be under way, killed, seen to its end after the next start, once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest

from api import jobs
from api.desk.copies import CopyDesk
from api.desk.standing import LONG_WORK_DOWN
from api.long_work import STOPS_WITHIN_S, Job, LongWork
from api.services import Account, CopyState
from api.settings import Settings, TimeAuthoritySetting
from evidence_store.custody import Verb
from evidence_store.database.schema import KeyWrapRow
from evidence_store.erasure import Erasure
from evidence_store.errors import OutOfReach
from evidence_store.people import Role
from recorder.take import Order
from tests.house import House, record
from tests.kills.life import Lives, free_port
from tests.prosecutors import ANNA, BO, enter_prosecutors
from tests.stamping import obtained, recorded, stamped_house
from tests.time_authority import TimeAuthority

WHY = "Opbevaringstiden er udløbet"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("long-work"))
    enter_prosecutors(made)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lives(house: House) -> Lives:
    settings = Settings(data=house.folder, port=free_port(), demo=True, watch=False, retention_days=0)
    return Lives(settings, house.folder / "log")


@pytest.fixture(scope="module")
def sealed(house: House) -> Order:
    order = house.interview()
    house.deliver(record(house, house.spool(), order, ticks=160))
    assert house.store.sealing.seal(order.interview.hex())
    return order


async def until(true: Callable[[], object], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.002)


def workflows(house: House, status: str, job: str = "") -> int:
    """How many DBOS has on record; `job`: what the job's name begins with."""
    asked = "select count(*) from workflow_status where status = ? and workflow_uuid like ?"
    with sqlite3.connect(house.folder / "store" / "work.sqlite") as database:
        return int(database.execute(asked, (status, f"{job}%")).fetchone()[0])


async def test_a_copy_that_was_being_made_is_made(house: House, lives: Lives, sealed: Order) -> None:
    store = house.store
    desk = CopyDesk(store.book, store.authority, store.keys, house.folder / "store" / "copies", "Hus", lambda: False)
    by = Account(house.account, "op", "Ida Optager", Role.OPERATOR)
    copy = desk.request(sealed.interview.hex(), by, "Prøve", str(pyrage.x25519.Identity.generate().to_public()))
    making = (CopyState.VERIFYING, CopyState.RENDERING, CopyState.PACKING)
    await lives.begin()
    try:
        await until(lambda: desk.status(copy).state in making)
        await lives.kill()
        assert desk.status(copy).state in making
        assert workflows(house, "PENDING") >= 1, "DBOS has it on record"
        await lives.begin()
        await until(lambda: desk.status(copy).state is CopyState.READY)
        assert len(house.custody(Verb.COPY_MADE)) == 1
        assert house.custody(Verb.COPY_FAILED) == []
        await until(lambda: workflows(house, "PENDING") == workflows(house, "ENQUEUED") == 0)
    finally:
        await lives.kill()


async def test_a_stamp_that_was_being_asked_for_is_obtained_once(tmp_path: Path) -> None:
    with TimeAuthority(tmp_path / "authority") as authority:
        house = stamped_house(tmp_path / "house", authority)
        recorded(house, house.interview())
        configured = TimeAuthoritySetting(address=authority.address, certificate=authority.pem)
        settings = Settings(
            data=house.folder, port=free_port(), demo=True, watch=False, time_authorities=[configured]
        )  # fmt: skip
        lives = Lives(settings, tmp_path / "log")
        try:
            with authority.keeping():
                await lives.begin()
                await until(lambda: authority.asked, 60)
                await lives.kill()
                assert workflows(house, "PENDING", "stamp-") >= 1, "DBOS has it on record"
                assert obtained(house) == []
            await lives.begin()
            await until(lambda: len(obtained(house)) >= 4, 60)
            await until(lambda: workflows(house, "PENDING") == workflows(house, "ENQUEUED") == 0)
        finally:
            await lives.kill()
        assert authority.asked[0] in authority.asked[1:], "the same question, with its nonce"
        abouts = [each["about"] for each in obtained(house)]
        assert len(abouts) == len(set(abouts))
        assert house.findings() == {}
        house.close()


async def test_a_rotation_that_was_killed_is_ended_by_the_house(house: House, lives: Lives) -> None:
    for _ in range(12):
        house.interview()
    rotation = lives.rotation()
    kek = house.store.authority.kek
    await until(lambda: len(kek.ids()) > 1)
    rotation.kill()
    await asyncio.to_thread(rotation.join)
    assert len(kek.ids()) > 1, "killed in the middle of it"
    await lives.begin()
    try:
        await until(lambda: len(kek.ids()) == 1)
        await until(lambda: len(house.custody(Verb.KEYS_ROTATED)) == 1)
    finally:
        await lives.kill()
    assert house.findings() == {}


async def test_an_erasure_that_was_decided_and_broken_off_is_carried_out(
    house: House, lives: Lives, sealed: Order
) -> None:
    interview, escrow = sealed.interview.hex(), house.folder / "escrow"
    erasure = Erasure(house.store.book, house.store.keys, 0)
    erasure.request(interview, ANNA, WHY)
    escrow.rename(away := house.folder / "escrow-away")
    escrow.mkdir()
    with pytest.raises(OutOfReach):
        erasure.approve(interview, BO)
    escrow.rmdir()
    away.rename(escrow)
    assert house.custody(Verb.INTERVIEW_ERASED) == []
    await lives.begin()
    try:
        await until(lambda: not erasure.anything_left())
    finally:
        await lives.kill()
    assert not (escrow / f"{interview}.seed").exists()
    assert len(house.custody(Verb.INTERVIEW_ERASED)) == len(house.custody(Verb.ERASURE_SETTLED)) == 1
    assert house.findings() == {}


def test_a_log_that_a_reader_kept_is_emptied_later_and_custody_says_so(tmp_path: Path) -> None:
    house = House(tmp_path)
    order = house.interview()
    house.deliver(record(house, house.spool(), order))
    assert house.store.sealing.seal(order.interview.hex())
    database = tmp_path / "store" / "vidne.sqlite"
    with house.store.book.reading() as session:
        wrapped = session.get_one(KeyWrapRow, order.interview.hex()).wrapped_seed or b""
    enter_prosecutors(house)
    reader = sqlite3.connect(database, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from key_wrap").fetchone()
    erasure = Erasure(house.store.book, house.store.keys, 0)
    job = jobs.erase(erasure)
    erasure.request(order.interview.hex(), ANNA, WHY)
    erasure.approve(order.interview.hex(), BO)

    def left() -> bool:
        files = [path for path in database.parent.glob("vidne.sqlite*") if not path.name.endswith("-shm")]
        return any(wrapped in path.read_bytes() for path in files)

    assert left(), "the reader keeps it"
    assert job.wanted(), "and so it is tried again"
    assert house.custody(Verb.ERASURE_SETTLED) == []
    reader.close()
    job.portion()
    assert not left()
    assert not job.wanted()
    assert len(house.custody(Verb.ERASURE_SETTLED)) == 1
    assert house.findings() == {}
    house.close()


# A DBOS that does not start, and work that does not end


async def test_where_dbos_does_not_start_the_work_is_done_and_an_alarm_stands(tmp_path: Path) -> None:
    (tmp_path / "work.sqlite").write_bytes(b"this is no database" * 1000)
    left = [3]

    def portion() -> bool:
        left[0] -= 1
        return left[0] > 0

    work = LongWork(tmp_path / "work.sqlite", [Job("count", lambda: left[0] > 0, portion)])
    work.start()
    try:
        await until(lambda: left[0] == 0)
        assert [each.code for each in work.alarms()] == [LONG_WORK_DOWN]
    finally:
        await asyncio.to_thread(work.stop)


async def test_a_stop_does_not_wait_for_a_portion_that_hangs(tmp_path: Path) -> None:
    begun, released = threading.Event(), threading.Event()

    def hangs() -> bool:
        begun.set()
        released.wait(60)
        return False

    work = LongWork(tmp_path / "work.sqlite", [Job("hang", lambda: True, hangs)])
    work.start()
    assert await asyncio.to_thread(begun.wait, 20)
    asked = time.monotonic()
    await asyncio.to_thread(work.stop)
    assert time.monotonic() - asked < STOPS_WITHIN_S + 3
    released.set()


async def test_a_job_that_fails_holds_up_no_other_and_rests(tmp_path: Path) -> None:
    failed, done = [], threading.Event()

    def fails() -> bool:
        failed.append(time.monotonic())
        raise OSError("a disk")

    def works() -> bool:
        done.set()
        return False

    work = LongWork(tmp_path / "work.sqlite", [Job("fail", lambda: True, fails), Job("work", lambda: True, works)])
    work.start()
    try:
        assert await asyncio.to_thread(done.wait, 20)
        for _ in range(5):
            work.poke()
            await asyncio.sleep(0.05)
        assert len(failed) == 1
        assert work.alarms() == ()
    finally:
        await asyncio.to_thread(work.stop)
