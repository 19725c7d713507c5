"""A real store (SQLite, vault on disk, keys, escrow) and a real enrolled device with its spool, in one folder."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi import FastAPI

from api import problems
from api.routes.intake import intake_router
from api.settings import Settings, TimeAuthoritySetting, TokenSetting
from api.wiring import Store, open_store
from evidence_store.audit import Audit
from evidence_store.canonical import Record
from evidence_store.custody import Verb
from evidence_store.database.schema import AccountRow, CustodyEventRow, InterviewRow
from evidence_store.hsm.token import Tokens
from evidence_store.identifiers import new_interview_id
from evidence_store.ledger import custody_log
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.keys import PrivateKey
from evidence_store.sealing.tick import Kind, Message
from recorder.delivery import Delivery, first_tick, objects
from recorder.device import Device, load_or_enrol
from recorder.recovery import previous_take
from recorder.sealer import Sealer, Tick
from recorder.spool import Spool, TakeFolder
from recorder.take import Order

CASE = "0100-83986-00001-17"
TRACKS = [TrackEntry(0, "wide-video", "wide", "video", 90_000), TrackEntry(1, "wide-audio", "wide", "audio", 48_000)]
BEGAN = 1_795_000_000_000_000_000
TICK_NS = 250_000_000


def tick(t: int, events: Iterable[Record] = (), size: int = 300, began: int = BEGAN) -> Tick:
    """Tick `t` of a take: one fragment of picture and one of sound, recognisable by their words."""
    messages = [
        Message(Kind.MEDIA, 0, 0, b"picture %d " % t * (size // 10), 1, _about(t, 90_000)),
        Message(Kind.MEDIA, 1, 0, b"sound %d " % t * 10, 4096, _about(t, 48_000)),
    ]
    if t == 0:
        messages.insert(0, Message(Kind.INIT, 0, 0, b"init of the picture", 1024, {"codec": "avc1.42c01f"}))
        events = [{"monotonic": "0", "type": "origin", "utc": str(began)}, *events]
    return Tick(messages, list(events), t * TICK_NS, began + (t + 1) * TICK_NS)


def _about(t: int, scale: int) -> Record:
    return {"from": t * scale // 4, "keys": [], "samples": 8, "to": (t + 1) * scale // 4}


def gap(first: int, last: int, track: int | None = 0, reason: str = "loss", began: int = BEGAN) -> Record:
    return {
        "from": str(began + first * TICK_NS), "reason": reason, "to": str(began + last * TICK_NS),
        "track": track, "type": "gap",
    }  # fmt: skip


@dataclass
class House:
    """One house in `folder`: the store is made when first asked for."""

    folder: Path
    vault_limit: int | None = None
    witnesses: Path | None = None
    database: str | None = None
    """The address of a PostgreSQL database; None: SQLite in the folder."""
    time_authorities: list[TimeAuthoritySetting] = field(default_factory=list)
    hsms: list[TokenSetting] = field(default_factory=list)
    device_tokens: Tokens | None = None
    store: Store = field(init=False)
    account: str = "a" * 32

    def __post_init__(self) -> None:
        self.open()
        with self.store.book.database.writing() as session:
            session.add(
                AccountRow(
                    id=self.account,
                    username="op",
                    display_name="Ida Optager",
                    role="operator",
                    active=True,
                    created_at=BEGAN,
                )
            )

    @classmethod
    def again(cls, folder: Path, hsms: Sequence[TokenSetting] = ()) -> House:
        """A house that is in that folder already, made by another one."""
        house = cls.__new__(cls)
        house.folder, house.vault_limit, house.witnesses, house.database = folder, None, None, None
        house.time_authorities, house.account = [], "a" * 32
        house.hsms, house.device_tokens = list(hsms), None
        house.open()
        return house

    def open(self) -> None:
        """Opens the store anew, as after a restart."""
        file = None
        if self.database is not None:
            file = self.folder / "database"
            file.write_text(self.database.replace("+psycopg", ""))
        self.store = open_store(
            Settings(
                data=self.folder, vault_limit=self.vault_limit, database=file, witnesses=self.witnesses,
                time_authorities=self.time_authorities, hsms=self.hsms,
            )
        )  # fmt: skip

    def close(self) -> None:
        self.store.book.database.close()

    @property
    def room(self) -> Path:
        return self.folder / "room"

    @property
    def vault(self) -> Path:
        return self.folder / "store" / "vault" / "objects"

    def spool(self, limit: int | None = None) -> Spool:
        return Spool(self.room, limit)

    def device(self, name: str = "device") -> Device:
        return load_or_enrol(self.room / name, "demo", self.store.intake.enrol, self.device_tokens)

    def interview(self) -> Order:
        """A planned interview with its key, as an order for the room."""
        with self.store.book.writing() as entry:
            row = InterviewRow(
                id=new_interview_id(), case_number=CASE, child_ordinal=1, room="demo", state="planned",
                created_by=self.account, created_at=BEGAN,
            )  # fmt: skip
            entry.session.add(row)
            entry.session.flush()
            released = self.store.keys.mint(entry.session, row, datetime.datetime.now(datetime.UTC))
            note = self.store.book.ledger.latest_checkpoint(entry.session)
            return Order(
                bytes.fromhex(row.id), released.public_key.encoded, released.signature,
                certs.to_der(self.store.authority.store), None if note is None else note.decode(),
            )  # fmt: skip

    def private_key(self, order: Order) -> PrivateKey:
        with self.store.book.reading() as session:
            return self.store.keys.open(session, order.interview.hex())

    def state(self, order: Order) -> str:
        with self.store.book.reading() as session:
            return session.get_one(InterviewRow, order.interview.hex()).state

    def custody(self, verb: Verb) -> list[custody_log.LoggedEvent]:
        with self.store.book.reading() as session:
            rows = session.query(CustodyEventRow).order_by(CustodyEventRow.ledger_position)
            return [each for row in rows if (each := custody_log._logged(row)).event.verb is verb]

    def deliver(self, take: TakeFolder) -> list[str]:
        """Everything the take has, in order, straight into intake; acknowledged. The kinds that were delivered."""
        done = []
        for kind, path in objects(take):
            self.deliver_one(take, kind, path.read_bytes())
            take.acknowledge(path)
            done.append(kind)
        return done

    def deliver_one(self, take: TakeFolder, kind: str, data: bytes) -> bytes:
        """One object; the hash that the store acknowledges."""
        intake, where = self.store.intake, (take.enrolment.hex(), take.take)
        if kind.startswith("segments/"):
            return intake.segment(*where, int(kind.partition("/")[2]), data).sha256
        return {"start": intake.start, "tail": intake.tail, "close": intake.close}[kind](*where, data).sha256

    def test_opening(self, take: TakeFolder) -> bool:
        data = first_tick(take.segment(0).read_bytes())
        assert data is not None
        return self.store.intake.test_opening(take.enrolment.hex(), take.take, data)

    def findings(self) -> dict[str, str]:
        """What an audit finds wrong, by name."""
        report = Audit(
            self.store.book, self.store.authority, witnessing=self.store.witnessing,
            time_authorities=self.store.stamps.authorities,
        ).run()  # fmt: skip
        return {each.name: each.detail for each in report.findings if not each.ok}

    def app(self) -> FastAPI:
        """Intake over HTTP."""
        app = FastAPI()
        problems.install(app)
        app.include_router(
            intake_router(self.store.intake, self.store.sealing, self.store.pools, self.store.notes, "deliver", "enrol")
        )
        return app

    def client(self, token: str = "deliver") -> httpx.AsyncClient:  # noqa: S107
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app()), base_url="http://store.test/intake/",
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip

    def delivery(self, spool: Spool, client: httpx.AsyncClient, keep_seconds: float = 3600.0) -> Delivery:
        device = self.device()

        def heartbeat() -> bytes:
            return device.heartbeat(spool.highest_take(), None, BEGAN)

        return Delivery(spool, client, keep_seconds=keep_seconds, heartbeat=heartbeat)


def begin(house: House, spool: Spool, order: Order, device: Device | None = None, began: int = BEGAN) -> Sealer:
    """A take that has begun."""
    device = device or house.device()
    return Sealer.begin(
        device, spool, order, TRACKS, previous_take(spool, device), monotonic_ns=0, utc_ns=began, boot="boot"
    )


def record(
    house: House,
    spool: Spool,
    order: Order,
    ticks: int = 20,
    began: int = BEGAN,
    events: dict[int, list[Record]] = {},  # noqa: B006
) -> TakeFolder:
    """A take of so many ticks, closed in order."""
    sealer = begin(house, spool, order, began=began)
    for t in range(ticks):
        sealer.write(tick(t, events.get(t, ()), began=began))
    sealer.close(Tick([], [], ticks * TICK_NS, began + (ticks + 1) * TICK_NS))
    return sealer.folder


def crash(house: House, spool: Spool, order: Order, ticks: int = 11, began: int = BEGAN) -> TakeFolder:
    """A take whose recorder died after so many ticks."""
    sealer = begin(house, spool, order, began=began)
    for t in range(ticks):
        sealer.write(tick(t, began=began))
    sealer.forget()
    return sealer.folder


def gone_on(house: House, spool: Spool, order: Order) -> TakeFolder:
    """A take that was closed and delivered, and that whoever had kept the take key went on with where it ended."""
    sealer = begin(house, spool, order)
    for t in range(8):
        sealer.write(tick(t))
    key = sealer._take_key
    sealer.close(tick(8))
    house.deliver(sealer.folder)
    sealer._take_key = key
    sealer._ratchet._secret = bytearray(32)
    for t in range(9, 12):
        sealer.write(tick(t))
    return sealer.folder


def copied(take: TakeFolder, to: Path) -> TakeFolder:
    """The take as it lies there now, somewhere else."""
    shutil.copytree(take.path, to / take.path.name)
    return TakeFolder(take.enrolment, take.take, to / take.path.name)


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what another task or thread brings about."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
