"""Delivery to the store, over the real intake's HTTP: in order, again after each trouble, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from evidence_store.custody import Verb
from evidence_store.database.schema import DeviceRow
from evidence_store.errors import KeysOutOfReach, NoSpace
from evidence_store.kek import KeyEncryptionKeys
from evidence_store.sealing.keys import PrivateKey
from recorder import delivery as delivering
from recorder.answered import unsealed
from recorder.checks import LOW_SPACE_BYTES
from recorder.delivery import Delivery, first_tick, objects
from recorder.recovery import recover
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import BEGAN, House, begin, crash, record, tick, until


@asynccontextmanager
async def running(delivery: Delivery) -> AsyncIterator[Delivery]:
    task = asyncio.create_task(delivery.run())
    try:
        yield delivery
        assert not task.done(), "delivery died"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivering, "LONGEST_PAUSE", 0.05)


class Between:
    """What stands between recorder and store: `answer` may answer for the store, or None to let through."""

    def __init__(self, house: House) -> None:
        self.requests: list[str] = []
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self._store = httpx.ASGITransport(house.app())

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._handle), base_url="http://store.test/intake/",
            headers={"Authorization": "Bearer deliver"},
        )  # fmt: skip

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.path.removeprefix("/intake/"))
        return self.answer(request) or await self._store.handle_async_request(request)


def delivered(take: TakeFolder) -> bool:
    return take.acknowledged(take.close) and objects(take) == []


async def test_a_take_is_delivered_in_order_and_tested_while_it_runs(house: House, order: Order) -> None:
    spool, between = house.spool(), Between(house)
    sealer = begin(house, spool, order)
    for t in range(10):
        sealer.write(tick(t))
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.test_opened == 1)
        assert not delivered(sealer.folder)
        sealer.close(tick(10))
        delivery.poke()
        await until(lambda: delivered(sealer.folder) and delivery.state.undelivered == 0)
        assert delivery.state.trouble is None
    base = f"takes/{sealer.folder.enrolment.hex()}/1/"
    assert [path.removeprefix(base) for path in between.requests] == [
        "heartbeats", "start", "segments/0", "test-opening", "segments/1", "close",
    ]  # fmt: skip
    assert house.findings() == {}


async def test_an_unreachable_store_and_a_full_vault_are_waited_for(house: House, spool: Spool, order: Order) -> None:
    take, between, troubles = record(house, spool, order), Between(house), set[str | None]()

    def away(request: httpx.Request) -> httpx.Response | None:
        tries = len(between.requests)
        if tries < 4:
            raise httpx.ConnectError("stand-in")
        return httpx.Response(507 if tries < 8 else 503) if tries < 12 else None

    between.answer = away
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        async with asyncio.timeout(10):
            while not delivered(take):
                troubles.add(delivery.state.trouble)
                await asyncio.sleep(0.005)
        await until(lambda: delivery.state.trouble is None)
    assert {"store-out-of-reach", "store-unavailable"} <= troubles
    assert house.findings() == {}


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
async def test_a_take_that_is_refused_is_an_alarm_and_holds_back_no_other(
    house: House, spool: Spool, order: Order, status: int
) -> None:
    takes, between = [record(house, spool, order, ticks=3) for _ in range(3)], Between(house)
    refused = f"/{takes[1].take}/"
    between.answer = lambda request: httpx.Response(status) if refused in request.url.path else None
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivered(takes[0]) and delivered(takes[2]))
        await until(lambda: delivery.state.trouble == "store-refuses")
        await until(lambda: delivery.state.undelivered == 3)
        between.answer = lambda _request: None
        await until(lambda: delivered(takes[1]) and delivery.state.trouble is None)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"sha256": "00" * 32}),
        httpx.Response(200, json={}),
        httpx.Response(200, json=[]),
        httpx.Response(200, text="<html>a proxy's page"),
    ],
    ids=["another_hash", "no_hash", "no_object", "no_json"],
)
async def test_only_the_stores_own_hash_of_the_object_acknowledges_it(
    house: House, spool: Spool, order: Order, answer: httpx.Response
) -> None:
    take, between = record(house, spool, order, ticks=3), Between(house)
    between.answer = lambda request: (
        httpx.Response(200, content=answer.content) if request.url.path.endswith("/start") else None
    )
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.trouble == "store-holds-something-else")
        await asyncio.sleep(0.1)
        assert delivery.state.trouble == "store-holds-something-else", "the alarm must not be wiped by the next round"
        assert not take.acknowledged(take.start)


async def test_a_backlog_holds_back_neither_heartbeat_nor_the_running_takes_test(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "AT_ONCE", 2)
    old = [record(house, spool, order, ticks=60) for _ in range(2)]
    sealer, between = begin(house, spool, order), Between(house)
    sealer.write(tick(0))
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.test_opened == 3)
        assert not any(delivered(take) for take in old)
        assert len(between.requests) < 12
        await until(lambda: all(map(delivered, old)))
    names = [path.partition("/")[2].partition("/")[2] for path in between.requests]
    assert names[:4] == ["", "1/start", "2/start", "3/start"], "nothing is closed before every start is known"
    assert names[4] == "3/test-opening"


async def test_a_number_is_told_at_once_not_at_the_next_heartbeat(house: House, spool: Spool, order: Order) -> None:
    between = Between(house)
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: between.requests == ["heartbeats"])
        spool.new_take(house.device().enrolment)
        delivery.poke()
        await until(lambda: highest(house) == 1)
    assert between.requests == ["heartbeats"] * 2


def highest(house: House) -> int:
    with house.store.book.reading() as session:
        return session.get_one(DeviceRow, house.device().enrolment.hex()).n_highest


@pytest.mark.parametrize("size", [0, 10, 100, 300, 2000])
def test_a_first_segment_that_is_being_written_is_no_trouble(
    house: House, spool: Spool, order: Order, size: int
) -> None:
    take = crash(house, spool, order, ticks=1)
    assert first_tick(take.segment(0).read_bytes()[:size]) is None
    assert first_tick(take.segment(0).read_bytes()) == take.segment(0).read_bytes()


async def test_a_segment_that_may_still_grow_is_not_delivered(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    for t in range(8):
        sealer.write(tick(t))
    assert [kind for kind, _ in objects(sealer.folder)] == ["start"]
    sealer.write(tick(8))
    assert [kind for kind, _ in objects(sealer.folder)] == ["start", "segments/0"]


async def test_what_is_acknowledged_stays_for_its_time_and_until_it_is_sealed(
    house: House, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "HEARTBEAT_SECONDS", 0.05)
    orders = house.interview(), house.interview()
    sealed, waiting = (record(house, spool, order, ticks=3) for order in orders)
    unfinished = crash(house, spool, orders[1], ticks=3)
    monkeypatch.setattr(Spool, "free_bytes", lambda _spool: 100 << 30)
    async with house.client() as client:
        async with running(house.delivery(spool, client)):
            await until(lambda: delivered(sealed) and delivered(waiting))
            await asyncio.sleep(0.2)
            assert sealed.path.exists()
        async with running(house.delivery(spool, client, keep_seconds=0.0)):
            await until(lambda: not sealed.path.exists())
            await asyncio.sleep(0.2)
            assert waiting.path.exists(), "its interview is not sealed: a vault may lack it"
            assert unfinished.path.exists(), "an open take is never removed"
            recover(spool, house.device(), BEGAN)
            await until(lambda: not waiting.path.exists() and not unfinished.path.exists())
    assert house.spool().highest_take() == 3


async def test_what_waits_for_its_seal_makes_room_for_a_recording_also_while_the_store_is_away(
    house: House, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sealed goes first, and what is not only while there is too little space, oldest first."""
    free = 100 << 30
    monkeypatch.setattr(Spool, "free_bytes", lambda _spool: free)
    monkeypatch.setattr(delivering, "HEARTBEAT_SECONDS", 0.05)
    orders = house.interview(), house.interview()
    waiting = [record(house, spool, orders[0], ticks=3), record(house, spool, orders[0], ticks=3)]
    sealed = record(house, spool, orders[1], ticks=3)
    crash(house, spool, orders[0], ticks=3)
    between = Between(house)
    async with between.client() as client, running(house.delivery(spool, client)):
        await until(lambda: all(map(delivered, [*waiting, sealed])))
    async with between.client() as client, running(house.delivery(spool, client, keep_seconds=0.0)) as delivery:
        await until(lambda: not sealed.path.exists())
        between.answer = lambda _request: httpx.Response(503)
        await until(lambda: delivery.state.trouble == "store-unavailable")
        assert all(take.path.exists() for take in waiting)

        def remove(spool: Spool, take: TakeFolder) -> None:
            nonlocal free
            free = 100 << 30
            really(spool, take)

        really = Spool.remove
        monkeypatch.setattr(Spool, "remove", remove)
        free = LOW_SPACE_BYTES - 1
        await until(lambda: not waiting[0].path.exists())
        await asyncio.sleep(0.3)
        assert waiting[1].path.exists(), "there is space again"


async def test_a_disk_that_lets_nothing_be_removed_holds_up_no_delivery(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removals(_spool: Spool) -> None:
        raise NoSpace("full", code="spool-full")

    monkeypatch.setattr(Spool, "finish_removals", removals)
    take = record(house, spool, order, ticks=3)
    async with house.client() as client, running(house.delivery(spool, client, keep_seconds=0.0)) as delivery:
        await until(lambda: delivered(take) and delivery.state.trouble is None)


def test_which_takes_wait_for_their_seal() -> None:
    known = unsealed({"unsealed": {"a": [2], "b": []}}, asked=100.0)
    assert known is not None
    assert [known.waits("a", take, 99.0) for take in (1, 2)] == [False, True]
    assert not known.waits("b", 2, 99.0)
    assert known.waits("c", 1, 99.0), "of a device that the store does not know it says nothing"
    assert known.waits("a", 1, 101.0), "acknowledged after it was asked: nothing is known of it yet"


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"unsealed": None}, {"unsealed": [3]}, {"unsealed": {"a": ["1"]}}, {"unsealed": {"a": 1}}]
)
def test_an_answer_that_does_not_say_is_taken_for_any(answer: object) -> None:
    assert unsealed(answer, asked=100.0) is None


def test_what_is_answered_tells_of_all_that_were_enrolled_in_the_room(house: House, spool: Spool) -> None:
    order = house.interview()
    take = crash(house, spool, order, ticks=3)
    house.store.intake.start(take.enrolment.hex(), 1, take.start.read_bytes())
    later = house.device("later")
    answer = house.store.intake.heartbeat(later.heartbeat(1, None, BEGAN))
    assert answer == {"lost": [], "unsealed": {take.enrolment.hex(): [1], later.enrolment.hex(): []}}
    house.store.book.read_only = True
    assert house.store.intake.heartbeat(later.heartbeat(1, None, BEGAN))["unsealed"] is None


async def test_a_spool_that_does_not_answer_is_an_alarm_and_not_the_end(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, really = record(house, spool, order, ticks=3), Spool.takes
    failing = True

    def takes(self: Spool) -> list[TakeFolder]:
        """Stands in for a disk that answers with I/O errors for a while."""
        if failing:
            raise OSError(5, "stand-in")
        return really(self)

    monkeypatch.setattr(Spool, "takes", takes)
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.trouble == "spool-unreadable")
        failing = False
        await until(lambda: delivered(take) and delivery.state.trouble is None)


async def test_a_test_opening_that_fails_is_an_alarm_here_and_in_custody(house: House, order: Order) -> None:
    """The store holds another private key than it should: what is recorded could never be opened."""
    spool = house.spool()
    other = house.interview()
    with house.store.book.database.writing() as session:
        from evidence_store.database.schema import KeyWrapRow

        wrap = session.get_one(KeyWrapRow, order.interview.hex())
        wrap.wrapped_seed = session.get_one(KeyWrapRow, other.interview.hex()).wrapped_seed
    sealer = begin(house, spool, order)
    sealer.write(tick(0))
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.test_failed == 1)
    assert [each.event.details["code"] for each in house.custody(Verb.TAKE_TEST_FAILED)] == ["seed-mismatch"]


async def test_a_store_whose_keys_are_away_takes_everything_and_tests_it_later(
    house: House, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, between = house.spool(), Between(house)
    sealer = begin(house, spool, order)
    for t in range(17):
        sealer.write(tick(t))

    def away(*_asked: object) -> PrivateKey:
        raise KeysOutOfReach("the HSM does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(KeyEncryptionKeys, "unlock", away)
        async with between.client() as client, running(house.delivery(spool, client)) as delivery:
            await until(lambda: all(sealer.folder.acknowledged(each) for each in sealer.folder.segments()[:2]))
            await until(lambda: sum(each.endswith("test-opening") for each in between.requests) > 2)
            assert (delivery.state.trouble, delivery.state.undelivered) == (None, 0)
            assert (delivery.state.test_opened, delivery.state.test_failed) == (0, 0)
            patched.undo()
            await until(lambda: delivery.state.test_opened == 1)
    assert len(house.custody(Verb.TAKE_TESTED)) == 1


async def test_a_recovered_take_and_a_void_number_are_delivered_and_closed(house: House, order: Order) -> None:
    spool, device = house.spool(), house.device()
    take = crash(house, spool, order)
    with take.segments()[-1].open("ab") as file:
        file.write(b"torn")
    spool.new_take(device.enrolment)
    recover(spool, device, BEGAN + 60 * 10**9)
    async with house.client() as client, running(house.delivery(spool, client)):
        await until(lambda: all(map(delivered, spool.takes())))
    assert [each.event.details["how"] for each in house.custody(Verb.TAKE_CLOSED)] == ["void", "crashed"]
    assert house.findings() == {}


async def test_a_wrong_token_delivers_nothing(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=1)
    async with house.client("guessed") as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.trouble == "store-refuses")
    assert not take.acknowledged(take.start)
    assert not (house.vault / "takes").exists()
