"""Intake after a crash, with a full vault, and against nonsense over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import Any

import pytest

from evidence_store.custody import Verb
from evidence_store.database.schema import DeviceRow, SegmentRow, TakeRow
from evidence_store.database.session import Database
from evidence_store.errors import (
    NoSpace,
    OutOfReach,
)
from evidence_store.vault.disk import DiskVault
from recorder.delivery import objects
from recorder.recovery import recover
from recorder.spool import Spool
from recorder.take import Order
from tests.conftest import BOTH_DATABASES
from tests.house import BEGAN, House, begin, crash, record, tick, until
from tests.store.taken_in import count, stored

pytestmark = BOTH_DATABASES


@contextmanager
def failing_once(monkeypatch: pytest.MonkeyPatch, on: int = 1) -> Any:
    """The on-th commit from here on fails: the database is away just then."""
    really, left = Database.writing, [on]

    @contextmanager
    def writing(self: Database) -> Any:
        with really(self) as session:
            yield session
            left[0] -= 1
            if left[0] == 0:
                raise OutOfReach("stand-in for a database that goes away", code="database-out-of-reach")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "writing", writing)
        yield


@pytest.mark.parametrize("kind", ["start", "segments/0", "segments/1", "tail", "close"])
def test_a_crash_between_vault_and_database_is_made_good_by_the_next_delivery(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    take = crash(house, spool, order)
    with take.segments()[-1].open("ab") as file:
        file.write(b"torn")
    recover(spool, house.device(), BEGAN + 60 * 10**9)
    for each, path in objects(take):
        if each == kind and kind != "tail":
            with failing_once(monkeypatch), pytest.raises(OutOfReach):
                house.deliver_one(take, each, path.read_bytes())
            assert len(stored(house)) > 0
        house.deliver_one(take, each, path.read_bytes())
    assert house.findings() == {}
    assert len(house.custody(Verb.TAKE_CLOSED)) == 1


def test_a_full_vault_takes_nothing_half_and_everything_later(house: House, spool: Spool, order: Order) -> None:
    house.close()
    house.vault_limit = sum(path.stat().st_size for path in house.vault.rglob("*") if path.is_file()) + 150_000
    house.open()
    take = record(house, spool, order, ticks=40)
    with pytest.raises(NoSpace) as caught:
        house.deliver(take)
    assert caught.value.code == "vault-full"
    assert all(data == (take.path / name).read_bytes() for name, data in by_spool_name(house).items())
    assert not list((house.vault.parent / "incoming").iterdir())
    done = count(house, SegmentRow)
    assert 0 < done < 5
    assert house.findings() == {}
    house.close()
    house.vault_limit = None
    house.open()
    house.deliver(take)
    assert house.findings() == {}


def by_spool_name(house: House) -> dict[str, bytes]:
    found = {}
    for name, data in stored(house).items():
        last = name.rpartition("/")[2]
        found[f"{last}.segment" if "segments" in name else last] = data
    return found


async def test_the_recording_does_not_notice_a_full_vault(house: House, spool: Spool, order: Order) -> None:
    (vault,) = house.store.book.vault.vaults
    assert isinstance(vault, DiskVault)
    vault.space.limit, vault.space.used = 100_000, 0
    sealer = begin(house, spool, order)
    async with house.client() as client:
        delivery = house.delivery(spool, client)
        task = asyncio.create_task(delivery.run())
        for t in range(60):
            sealer.write(tick(t))
            delivery.poke()
            await asyncio.sleep(0)
        await until(lambda: delivery.state.trouble == "store-unavailable")
        sealer.close(tick(60))
        assert delivery.state.undelivered > 0
        vault.space.limit = None
        await until(lambda: sealer.folder.acknowledged(sealer.folder.close) and delivery.state.trouble is None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert house.findings() == {}
    with house.store.book.reading() as session:
        row = session.get_one(TakeRow, (sealer.folder.enrolment.hex(), 1))
        assert (row.last_t, row.ended_how) == (60, "stopped")
        assert session.get_one(DeviceRow, sealer.folder.enrolment.hex()).n_highest == 1


@pytest.mark.parametrize("path", ["heartbeats", "takes/{}/1/start", "takes/{}/1/segments/0", "takes/{}/1/close"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff\xfe", b'{"record":{},"signatures":{}}', b"[" * 5000])
async def test_nonsense_over_http_is_refused_with_a_reason(house: House, path: str, body: bytes) -> None:
    async with house.client() as client:
        where = path.format("00" * 16)
        reply = await client.request("POST" if path == "heartbeats" else "PUT", where, content=body)
    assert 400 <= reply.status_code < 500
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("token", ["", "enrol", "Deliver", "deliver2"])
async def test_another_token_opens_nothing(house: House, token: str) -> None:
    async with house.client(token) as client:
        reply = await client.post("heartbeats", content=house.device().heartbeat(1, None, BEGAN))
    assert reply.status_code == 401
