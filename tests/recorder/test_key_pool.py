"""Keys of the room's own: each once, whatever crashes; only those that the store signed; the last again at the end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from evidence_store.database.schema import InterviewRow, KeyWrapRow
from evidence_store.errors import NotPermitted, Unavailable
from evidence_store.key_pools import POOL_SIZE
from recorder import key_pool
from recorder.key_pool import KeyPool
from recorder.spool import Spool
from recorder.take import Order
from tests.house import House, record


def pool_of(house: House) -> KeyPool:
    device = house.device()
    return KeyPool(house.room, device.enrolment, device.certificates.root)


async def refill(house: House, pool: KeyPool, lose: bool = False) -> list[str]:
    """One question to the store and its answer; the interviews that came. `lose`: the answer never arrives."""
    given: list[str] = []
    async with house.client() as client:

        async def send(method: str, path: str, body: bytes) -> httpx.Response:
            reply = (await client.request(method, path, content=body)).raise_for_status()
            given.extend(each["interview"] for each in reply.json()["keys"])
            if lose:
                raise httpx.ReadTimeout("stand-in for a cut network")
            return reply

        await pool.refill(send, asyncio.to_thread)
    return given


async def test_every_key_is_given_out_once_and_the_last_again_when_there_is_none(house: House) -> None:
    pool = pool_of(house)
    with pytest.raises(Unavailable) as refused:
        pool.spend()
    assert refused.value.code == "no-key"
    given = await refill(house, pool)
    assert len(set(given)) == pool.count == POOL_SIZE
    spent = [pool.spend().interview.hex() for _ in range(POOL_SIZE)]
    assert sorted(spent) == sorted(given)
    assert pool.spend().interview.hex() == spent[-1]
    assert pool.count == 0, "which is the alarm key-pool-empty"
    again = pool_of(house)
    assert (again.count, again.spend().interview.hex()) == (0, spent[-1])
    fresh = await refill(house, again)
    assert not set(fresh) & set(spent)
    assert again.spend().interview.hex() not in spent


async def test_an_answer_that_was_lost_is_given_again_and_no_more_are_minted(house: House) -> None:
    pool = pool_of(house)
    with pytest.raises(httpx.ReadTimeout):
        await refill(house, pool, lose=True)
    with house.store.book.reading() as session:
        assert session.query(KeyWrapRow).count() == POOL_SIZE
    assert len(await refill(house, pool)) == POOL_SIZE
    assert await refill(house, pool) == []
    with house.store.book.reading() as session:
        assert session.query(KeyWrapRow).count() == POOL_SIZE
        assert {row.state for row in session.query(InterviewRow)} == {"reserved"}
    assert len(list((house.folder / "escrow").glob("*.seed"))) == POOL_SIZE


async def test_a_used_key_never_comes_back_even_if_the_store_offers_it(house: House) -> None:
    pool = pool_of(house)
    await refill(house, pool)
    used = pool.spend()
    offered = {"keys": [{**json.loads(used.encode())}]}
    pool._keep(json.dumps(offered, separators=(",", ":"), sort_keys=True).encode())
    assert pool.count == POOL_SIZE - 1
    assert used.interview not in {pool.spend().interview for _ in range(POOL_SIZE - 1)}


async def test_a_key_that_the_store_did_not_sign_is_not_kept(house: House) -> None:
    pool = pool_of(house)
    await refill(house, pool)
    good = pool.spend()
    for bad in (
        replace(good, interview=bytes(16)),
        replace(good, interview=bytes(16), key_signature=b"x" * 70),
        replace(good, interview=bytes(16), store_certificate=b"no certificate"),
    ):
        pool._keep(b'{"keys":[' + bad.encode() + b"]}")
    assert pool.count == POOL_SIZE - 1


async def test_a_crash_while_a_key_is_given_out_leaves_it_unused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(house)
    await refill(house, pool)

    def dies(path: Path, target: object) -> Path:
        raise OSError("stand-in for a crash")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dies)
        patched.setattr(key_pool, "write_durably", lambda path, data: path.write_bytes(data))
        with pytest.raises(OSError, match="stand-in"):
            pool.spend()
    again = pool_of(house)
    assert again.count == POOL_SIZE
    assert len({again.spend().interview for _ in range(POOL_SIZE)}) == POOL_SIZE


async def test_a_take_under_such_a_key_finds_its_interview_which_is_nobodys_yet(house: House, spool: Spool) -> None:
    pool = pool_of(house)
    await refill(house, pool)
    order = pool.spend()
    house.deliver(record(house, spool, order, ticks=9))
    assert house.store.sealing.seal(order.interview.hex())
    assert house.state(order) == "sealed"
    assert house.private_key(order)
    with house.store.book.reading() as session:
        row = session.get_one(InterviewRow, order.interview.hex())
        assert (row.case_number, row.child_ordinal, row.created_by) == (None, None, None)
        assert row.enrolment == house.device().enrolment.hex()
    assert house.findings() == {}
    assert order.interview.hex() not in await refill(house, pool)


async def test_no_keys_for_a_device_that_is_not_enrolled(house: House) -> None:
    with pytest.raises(NotPermitted):
        house.store.pools.refill("00" * 16, (), ())
    async with house.client("another") as client:
        assert (await client.post(f"keys/{'00' * 16}", content=b"{}")).status_code == 401


def test_an_order_of_the_pool_is_an_order(house: House) -> None:
    device = house.device()
    (key, *_) = house.store.pools.refill(device.enrolment.hex(), (), ())
    order = Order(key.interview, key.released.public_key.encoded, key.released.signature, b"c", None)
    assert Order.decode(order.encode()) == order
