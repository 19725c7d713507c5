"""A room, and the people of a house, who remember what the store has acknowledged to them.

What is remembered here is the client's own: nothing is read from the store's database. A delivery whose answer did
not come is made again, as every recorder does.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import httpx

from api.drill.visitor import DrillFailed, Visitor
from api.settings import Secrets, Settings
from api.wiring import DEMO_ACCOUNTS
from evidence_store.canonical import canonical
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal
from recorder.delivery import objects
from recorder.device import Device, load_or_enrol
from recorder.key_pool import KeyPool
from recorder.recovery import previous_take, recover
from recorder.sealer import Sealer, Tick
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import TICK_NS, TRACKS, gap, tick
from tests.stamping import quiet

PEOPLE = ("operator", "anklager", "anklager2")
CASE = "0100-83986-00077-26"
REASON = "Prøve af kill -9"


@dataclass
class Acknowledged:
    """`objects`: SHA-256 by the name the store gave. `closed`: by interview, its takes' heads as the receipts have
    them. `asked`, `erased`: interviews whose erasure was taken, and carried out. `rotations`: that came to an end."""

    objects: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    closed: dict[str, dict[tuple[str, int], str]] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    rotations: int = 0


class Client:
    """`dice` decides how long takes are. One interview at a time, as a room has it."""

    def __init__(self, settings: Settings, dice: Random) -> None:
        self._dice = dice
        self._secrets = Secrets(settings.run_folder)
        self._base, self._folder = settings.api_url, settings.room_folder
        self.acknowledged = Acknowledged()
        self.spool = Spool(self._folder, None)
        self._http = httpx.AsyncClient(
            base_url=f"{self._base}/intake/", trust_env=False, timeout=30.0,
            headers={"Authorization": f"Bearer {self._secrets.token('delivery')}"},
        )  # fmt: skip
        self.people = {name: Visitor(self._base) for name in PEOPLE}
        self.interviews: dict[tuple[str, int], str] = {}
        self.taken = 0

    async def close(self) -> None:
        await self._http.aclose()
        for each in self.people.values():
            await each.__aexit__(None, None, None)

    async def begin(self) -> None:
        """The first life: the device is enrolled, has its keys, and people have signed in."""
        self.device: Device = load_or_enrol(self._folder / "device", "demo", self._enrol)
        self.pool = KeyPool(self._folder, self.device.enrolment, self.device.certificates.root)
        for account in DEMO_ACCOUNTS:
            if account.username in self.people:
                await self.people[account.username].sign_in(account.username, account.password)
        await self.refill()

    def _enrol(self, enrolment: bytes, room: str, device: bytes, device_ml_dsa: bytes) -> certs.DeviceCertificates:
        body = canonical(
            {
                "device": base64.b64encode(device).decode(),
                "device_ml_dsa_65": base64.b64encode(device_ml_dsa).decode(),
                "enrolment": enrolment.hex(),
                "room": room,
            }
        )
        token = {"Authorization": f"Bearer {self._secrets.token('enrolment')}"}
        reply = httpx.post(f"{self._base}/intake/enrolments", content=body, headers=token, trust_env=False)
        issued = reply.raise_for_status().json()
        names = ("root", "device", "device_ml_dsa_65")
        return certs.DeviceCertificates(*(certs.from_pem(issued[name].encode()) for name in names))

    async def refill(self) -> None:
        """Raises httpx.HTTPError, as all below that ask the store."""

        async def at_once(work: Callable[[], object], *arguments: object) -> object:
            return work(*arguments)

        await self.pool.refill(self._send, at_once)
        self.acknowledged.keys |= {path.stem for path in (self._folder / "keys").glob("*.json")} - {"last"}

    async def _send(self, method: str, path: str, data: bytes) -> httpx.Response:
        return (await self._http.request(method, path, content=data)).raise_for_status()

    # The room

    def record(self) -> TakeFolder:
        """The last take of another interview, one to four segments that began just now. In some the recorder crashed
        in a take before, which is still to be delivered too."""
        order = self.pool.spend()
        if self._dice.random() < 0.2:
            self._take(order, crashes=True)
        return self._take(order)

    def _take(self, order: Order, *, crashes: bool = False) -> TakeFolder:
        ticks = self._dice.randrange(3, 30)
        began = quiet(time.time_ns() - ticks * TICK_NS)
        sealer = Sealer.begin(
            self.device, self.spool, order, TRACKS, previous_take(self.spool, self.device),
            monotonic_ns=0, utc_ns=began, boot="boot",
        )  # fmt: skip
        holes = {t: [gap(t - 1, t, began=began)] for t in range(2, ticks, 7)}
        for t in range(ticks):
            sealer.write(tick(t, holes.get(t, ()), began=began))
        if crashes:
            sealer.forget()
            with sealer.folder.segments()[-1].open("ab") as file:
                file.write(b"torn")
            recover(self.spool, self.device, began + (ticks + 4) * TICK_NS)
        else:
            sealer.close(Tick([], [], ticks * TICK_NS, began + (ticks + 1) * TICK_NS))
        self.interviews[self._key(sealer.folder)] = order.interview.hex()
        self.taken += 1
        return sealer.folder

    @staticmethod
    def _key(take: TakeFolder) -> tuple[str, int]:
        return take.enrolment.hex(), take.take

    async def deliver(self, take: TakeFolder, upto: int | None = None) -> None:
        """What the store has not acknowledged yet, in order; the first `upto` of it."""
        for kind, path in objects(take)[:upto]:
            await self.deliver_one(take, kind, path)

    async def deliver_one(self, take: TakeFolder, kind: str, path: Path) -> None:
        data = await asyncio.to_thread(path.read_bytes)
        reply = await self._send("PUT", f"takes/{take.enrolment.hex()}/{take.take}/{kind}", data)
        said = reply.json()
        if said["sha256"] != sha256(data).hexdigest():
            raise RuntimeError("the store acknowledged something else")
        self.acknowledged.objects[said["object"]] = said["sha256"]
        if kind == "close":
            head = _head_of(data)
            of = self.acknowledged.closed.setdefault(self.interviews[self._key(take)], {})
            of[self._key(take)] = head
        take.acknowledge(path)

    def undelivered(self) -> list[TakeFolder]:
        return [take for take in self.spool.takes() if objects(take)]

    async def heartbeat(self) -> None:
        await self._send("POST", "heartbeats", self.device.heartbeat(self.spool.highest_take(), None, time.time_ns()))

    # The people

    async def assign(self, interview: str) -> None:
        where = f"/afhoering/{interview}/journalnummer"
        if not await self._is_assigned(interview):
            await self.people["operator"].submit(where, where, case_number=CASE, child_ordinal="1")
        self.acknowledged.assigned.add(interview)

    async def _is_assigned(self, interview: str) -> bool:
        """An answer may have been lost."""
        return (await self.people["anklager"].send("GET", f"/sager/{interview}/sletning")).is_success

    async def ask_erasure(self, interview: str) -> bool:
        """Whether it is asked for now; False while it is not sealed."""
        where = f"/sager/{interview}/sletning"
        if interview not in self.acknowledged.asked:
            if f'action="{where}/godkend"' not in await self.people["anklager2"].page(where):
                try:
                    await self.people["anklager"].submit(where, where, reason=REASON)
                except DrillFailed as error:
                    if "answered 409" in str(error) or "has no form" in str(error):
                        return False
                    raise
            self.acknowledged.asked.add(interview)
        return True

    async def approval(self, interview: str) -> bytes:
        """The form that approves it, filled in."""
        return urlencode({"csrf": await self.people["anklager2"].csrf(f"/sager/{interview}/sletning")}).encode()

    async def approve(self, interview: str, form: bytes) -> None:
        where = f"/sager/{interview}/sletning/godkend"
        reply = await self.people["anklager2"].send(
            "POST", where, form, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        if reply.status_code != httpx.codes.SEE_OTHER:
            raise DrillFailed(f"{where} answered {reply.status_code}")
        self.acknowledged.erased.add(interview)

    async def approve_after_all(self, interview: str) -> None:
        """Where the answer was lost: the page says whether it is erased."""
        if "Optagelsen er slettet" not in await self.people["anklager2"].page(f"/sager/{interview}/sletning"):
            await self.approve(interview, await self.approval(interview))
        self.acknowledged.erased.add(interview)


def _head_of(close: bytes) -> str:
    record, _ = journal.decode_envelope(close)
    return str(record["head"])
