"""Where an attack happens: a house of its own, with two interviews recorded, delivered and sealed before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from api.desk.witnesses import WitnessDesk
from api.processes.witness import witness_app
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AlarmRow
from evidence_store.ledger.witness_memory import Witness
from evidence_store.sealing.check import Start, check_start
from evidence_store.vault.s3 import Bucket
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.attacks.defence import AnotherHeld
from tests.house import BEGAN, House, record
from tests.prosecutors import enter_prosecutors
from tests.seaweed import Server
from tests.time_authority import TimeAuthority

WITNESS = "prosecution.example/w1"


@dataclass
class Made:
    """A house that is copied for each attack. `orders`: of its two interviews, in the order of their takes."""

    folder: Path
    orders: list[bytes]


def make(folder: Path) -> Made:
    house, orders = House(folder), []
    enter_prosecutors(house)
    spool = house.spool()
    for at in range(2):
        order = house.interview()
        house.deliver(record(house, spool, order, ticks=20, began=BEGAN + at * 60 * 10**9))
        assert house.store.sealing.seal(order.interview.hex())
        orders.append(order.encode())
    house.close()
    return Made(folder, orders)


@dataclass
class Place:
    """`folder`: to do in what one likes. The house is opened when it is first asked for."""

    folder: Path
    made: Made
    server: Callable[[], Server]
    authority: Callable[[], TimeAuthority]
    _house: House | None = None
    _witness: Witness | None = None
    ending: list[Callable[[], object]] = field(default_factory=list)

    @property
    def house(self) -> House:
        if self._house is None:
            shutil.copytree(self.made.folder, self.folder / "house")
            self._house = House.again(self.folder / "house")
        return self._house

    def reopen(self) -> None:
        """The store's process ends and starts anew."""
        self.house.close()
        self.house.open()

    def close(self) -> None:
        for each in reversed(self.ending):
            each()
        if self._house is not None:
            self._house.close()

    # What was recorded before

    @property
    def orders(self) -> list[Order]:
        return [Order.decode(each) for each in self.made.orders]

    @property
    def takes(self) -> list[TakeFolder]:
        return self.house.spool().takes()

    def stored(self, take: int, segment: int) -> Path:
        """A segment's file in the vault."""
        where = f"takes/{self.house.device().enrolment.hex()}/{take:06d}/segments/{segment:06d}"
        return self.house.vault / where

    def start(self, take: TakeFolder) -> Start:
        return check_start(take.start.read_bytes(), self.house.store.authority.root)

    def plays(self, take: int, segment: int, track: int = 0) -> bytes:
        return bytes(self.house.store.playback.media(self.house.device().enrolment.hex(), take, segment, track, 0))

    # What the house says

    def act(self, count: int = 1) -> None:
        """An act of a person, or some."""
        for _ in range(count):
            self.house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))

    def alarms(self) -> list[str]:
        with self.house.store.book.reading() as session:
            return [row.code for row in session.query(AlarmRow).filter(AlarmRow.cleared_at.is_(None))]

    # Others

    def bucket(self, who: str = "writer", name: str | None = None) -> Bucket:
        """A new bucket with Object Lock on a real server, or the one of that name."""
        server = self.server()
        return server.bucket(name or server.make_bucket(self.folder.name.replace("_", "-").lower()[-40:]).name, who)

    def watched(self, quorum: int = 1, lag: int = 600) -> Witness:
        """A witness in another organisation, in this process, and a policy of the house that names it."""
        folder = self.folder / "prosecution"
        self._witness = Witness(folder, lambda: self.house.store.book.clock() // 10**9, WITNESS)
        self.ending.append(self._witness.close)
        self._witness.trust(self.house.store.book.ledger.verifier)
        policy = self.folder / "witnesses.toml"
        policy.write_text(
            f'quorum = {quorum}\ngreatest_lag = {lag}\n[[witness]]\nname = "{WITNESS}"\nurl = "http://127.0.0.1:1"\n'
            f'key = "{self._witness.verifier}"\n'
        )
        self.house.witnesses = policy
        self.reopen()
        return self._witness

    async def ask(self, *, away: bool = False) -> None:
        """The house asks its witness, by its own code, and declares what is late. `away`: nobody answers."""
        assert self.house.store.witnessing is not None
        assert self._witness is not None
        desk = WitnessDesk(self.house.store.witnessing)
        app = witness_app(self._witness, secure=False)
        for member in list(desk._clients):
            await desk._clients[member].aclose()
            transport: Any = httpx.MockTransport(_nobody) if away else httpx.ASGITransport(app)
            desk._clients[member] = httpx.AsyncClient(transport=transport)
        await desk.first()
        self.house.store.witnessing.review()
        await desk.close()


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody is there", request=request)


def expect(true: object, otherwise: str) -> None:
    """Of the ground that an attack stands on. Raises AnotherHeld: what fails here is not the attack's assertion."""
    if not true:
        raise AnotherHeld(otherwise)
