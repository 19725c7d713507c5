"""What the store had acknowledged and has lost in every vault comes again from its recorder's spool, by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from evidence_store.custody import Verb
from evidence_store.database.schema import AlarmRow
from evidence_store.deliveries import alarm
from evidence_store.errors import InvalidInput
from evidence_store.kept import KeptVault
from evidence_store.scrub import FIRST, LOST, Place, Scrub, lost_of
from recorder import delivery as delivering
from recorder.answered import AT_ONCE, Lost, lost
from recorder.recovery import recover
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import BEGAN, House, begin, crash, record, tick, until
from tests.lying_vault import LyingVault
from tests.recorder.test_delivery import Between, delivered, running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivering, "HEARTBEAT_SECONDS", 0.05)


def remove(path: Path) -> None:
    path.unlink()


def spoil(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(b"something else")


def read_everything(scrub: Scrub) -> None:
    number = scrub.begin()
    while not scrub.read_on(number).ended:
        pass


def standing(house: House) -> list[str]:
    with house.store.book.reading() as session:
        return list(session.scalars(select(AlarmRow.code).where(AlarmRow.cleared_at.is_(None))))


def bring_all(scrub: Scrub) -> None:
    place: Place | None = FIRST
    while place is not None:
        place = scrub.bring(place).after


async def taken_in(house: House, take: TakeFolder, spool: Spool) -> None:
    """By delivery, so that the spool knows what was acknowledged."""
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        # Tested too: cut off in between, the store would still be at it.
        await until(lambda: delivered(take) and delivery.state.test_opened == take.take)


async def until_nothing_stands(house: House, scrub: Scrub) -> None:
    async with asyncio.timeout(10):
        while standing(house):
            scrub.bring()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["start.json", "segments/000000"])
@pytest.mark.parametrize("harm", [remove, spoil])
async def test_what_is_lost_while_a_take_runs_is_delivered_again_and_sealed(
    house: House, spool: Spool, order: Order, name: str, harm: Callable[[Path], None]
) -> None:
    scrub, sealer = Scrub(house.store.book, house.store.book.vault), begin(house, spool, order)
    for t in range(20):
        sealer.write(tick(t))
    take, interview = sealer.folder, order.interview.hex()
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivery.state.test_opened == 1 and take.acknowledged(take.segment(1)))
    harm(house.vault / f"takes/{take.enrolment.hex()}/000001/{name}")
    read_everything(scrub)
    assert standing(house) == [LOST]
    sealer.close(tick(20))
    async with house.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivered(take))
        # Not before somebody has looked at what came.
        assert not house.store.sealing.seal(interview)
        await until_nothing_stands(house, scrub)
        await until(lambda: delivery.state.trouble is None)
    assert [logged.event.details["object"] for logged in house.custody(Verb.VAULT_OBJECT_MENDED)] == [
        f"takes/{take.enrolment.hex()}/000001/{name}"
    ]
    assert house.store.sealing.seal(interview)
    assert house.findings() == {}


@pytest.mark.parametrize("name", ["start.json", "segments/000001", "close.json"])
async def test_what_is_lost_after_the_seal_is_delivered_again(
    house: House, spool: Spool, order: Order, name: str
) -> None:
    take, scrub = record(house, spool, order), Scrub(house.store.book, house.store.book.vault)
    await taken_in(house, take, spool)
    spoil(house.vault / f"takes/{take.enrolment.hex()}/000001/{name}")
    read_everything(scrub)
    async with house.client() as client, running(house.delivery(spool, client)):
        await until_nothing_stands(house, scrub)
    assert house.findings() == {}


async def test_a_torn_end_that_both_of_two_vaults_lost_comes_again(house: House, spool: Spool, order: Order) -> None:
    book, second = house.store.book, LyingVault("another")
    book.vault = KeptVault(book.vault.holdings, [*book.vault.vaults, second])
    scrub, take = Scrub(book, book.vault), crash(house, spool, order, ticks=20)
    with take.segments()[-1].open("ab") as file:
        file.write(b"half a frame")
    recover(spool, house.device(), BEGAN)
    await taken_in(house, take, spool)
    name = f"takes/{take.enrolment.hex()}/000001/tail"
    remove(house.vault / name)
    second.objects[name] = b"something else"
    read_everything(scrub)
    assert standing(house) == [LOST]
    async with house.client() as client, running(house.delivery(spool, client)):
        await until_nothing_stands(house, scrub)
    assert (house.vault / name).read_bytes() == second.get(name) == take.tail.read_bytes()
    mended = [logged.event.details["vault"] for logged in house.custody(Verb.VAULT_OBJECT_MENDED)]
    assert sorted(mended) == sorted(book.vault.identities)
    assert house.findings() == {}


async def test_what_is_another_here_is_not_sent_and_holds_up_nothing(house: House, spool: Spool, order: Order) -> None:
    """The spool's own copy is damaged too: the loss stands, and the next take is delivered as ever."""
    take, scrub = record(house, spool, order), Scrub(house.store.book, house.store.book.vault)
    await taken_in(house, take, spool)
    remove(house.vault / f"takes/{take.enrolment.hex()}/000001/segments/000001")
    spoil(take.segment(1))
    read_everything(scrub)
    between, following = Between(house), record(house, spool, order)
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivered(following) and between.requests.count("heartbeats") > 3)
        assert delivery.state.trouble is None
    assert not [path for path in between.requests if "/1/segments" in path]
    scrub.bring()
    assert LOST in standing(house)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"ok":true}', b'{"lost":[{"object":"../../etc","sha256":""}]}'])
async def test_an_answer_that_is_none_holds_up_nothing(house: House, spool: Spool, order: Order, answer: bytes) -> None:
    between, take = Between(house), record(house, spool, order)
    between.answer = lambda asked: httpx.Response(200, content=answer) if "heartbeats" in asked.url.path else None
    async with between.client() as client, running(house.delivery(spool, client)) as delivery:
        await until(lambda: delivered(take))
        assert delivery.state.trouble is None


def test_what_a_store_names() -> None:
    enrolment, sha256 = "a" * 32, "b" * 64
    names = ("000002/start.json", "000002/segments/000013", "000002/tail", "1234567/close.json")
    said = {"lost": [{"object": f"takes/{enrolment}/{name}", "sha256": sha256} for name in names]}
    assert lost(said) == [
        Lost(enrolment, 2, "start.json", sha256), Lost(enrolment, 2, "000013.segment", sha256),
        Lost(enrolment, 2, "tail", sha256), Lost(enrolment, 1234567, "close.json", sha256),
    ]  # fmt: skip


def test_a_loss_made_good_in_a_new_vault_is_over(house: House, spool: Spool, order: Order) -> None:
    """The one vault was replaced: each object is lost, and each is over once it came again."""
    take, book = record(house, spool, order), house.store.book
    house.deliver(take)
    book.vault = KeptVault(book.vault.holdings, [LyingVault("new")])
    scrub, name = Scrub(book, book.vault), f"takes/{take.enrolment.hex()}/000001/start.json"
    bring_all(scrub)
    with book.reading() as session:
        assert name in [each["object"] for each in lost_of(session, f"takes/{take.enrolment.hex()}/", 64)]
    book.vault.put(name, take.start.read_bytes())
    bring_all(scrub)
    with book.reading() as session:
        assert name not in [each["object"] for each in lost_of(session, f"takes/{take.enrolment.hex()}/", 64)]
    assert [logged.event.details["object"] for logged in house.custody(Verb.VAULT_OBJECT_MENDED)] == [name]


def test_a_reading_ends_an_alarm_that_a_crash_left_standing(house: House, spool: Spool, order: Order) -> None:
    take, book = record(house, spool, order), house.store.book
    house.deliver(take)
    scrub, name = Scrub(book, book.vault), f"takes/{take.enrolment.hex()}/000001/segments/000000"
    kept = (house.vault / name).read_bytes()
    remove(house.vault / name)
    read_everything(scrub)
    assert standing(house) == [LOST]
    book.vault.put(name, kept)
    book.vault.holdings.held(book.vault.identities[0], name)
    read_everything(scrub)
    assert standing(house) == []


def test_damage_that_a_second_delivery_mended_unasked_is_entered(house: House, spool: Spool, order: Order) -> None:
    take, book = record(house, spool, order), house.store.book
    house.deliver(take)
    name = f"takes/{take.enrolment.hex()}/000001/segments/000000"
    spoil(house.vault / name)
    book.vault.put(name, take.segment(0).read_bytes())
    bring_all(Scrub(book, book.vault))
    assert [logged.event.details["object"] for logged in house.custody(Verb.VAULT_OBJECT_MENDED)] == [name]
    assert house.findings() == {}


def test_of_many_losses_none_is_hidden_by_the_others(house: House) -> None:
    enrolment = house.device().enrolment.hex()
    named: set[str] = set()
    with house.store.book.database.writing() as session:
        for number in range(1, 11):
            about = {"object": f"takes/{enrolment}/{number:06d}/start.json", "sha256": "b" * 64}
            assert alarm(session, number, LOST, None, about)
        for _ in range(200):
            some = lost_of(session, f"takes/{enrolment}/", 4)
            assert len(some) == 4
            named |= {str(each["object"]) for each in some}
        assert lost_of(session, "takes/another/", 4) == []
    assert len(named) == 10


def test_what_is_another_here_is_read_once(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that names everything with another hash must not have a recorder read its disk all the time."""
    take, seen = record(house, spool, order), list[Path]()
    house.deliver(take)

    def read(path: Path) -> tuple[bytes, str]:
        seen.append(path)
        return path.read_bytes(), "a" * 64

    monkeypatch.setattr(delivering, "_read", read)
    delivery = house.delivery(spool, httpx.AsyncClient())
    for _ in range(5):
        delivery._deliver_again([Lost(take.enrolment.hex(), 1, "000000.segment", "b" * 64)])
    assert seen == [take.segment(0)]


@pytest.mark.parametrize(
    "name",
    [
        "takes/x/000001/start.json", "takes/" + "a" * 32 + "/1/start.json", "takes/" + "a" * 32 + "/000001/../x",
        "takes/" + "a" * 32 + "/000001/close.json.ack", "interviews/" + "a" * 32 + "/manifest-001.json",
    ],
)  # fmt: skip
def test_no_other_name_is_one(name: str) -> None:
    """And hides no other."""
    right = {"object": "takes/" + "a" * 32 + "/000001/tail", "sha256": "b" * 64}
    assert lost({"lost": [{"object": name, "sha256": "b" * 64}, right]}) == [Lost("a" * 32, 1, "tail", "b" * 64)]
    assert len(lost({"lost": [right] * 1_000})) == AT_ONCE
    with pytest.raises(InvalidInput):
        lost({"lost": [{"object": name}]})
