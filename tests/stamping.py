"""A house whose stamps come from a real authority on loopback, asked by the web application's own code."""

from __future__ import annotations

import time
from pathlib import Path

from api.settings import TimeAuthoritySetting
from api.stamping import ask_all, new_client
from evidence_store.custody import Verb
from evidence_store.database.schema import AlarmRow
from evidence_store.errors import OutOfReach
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.house import TICK_NS, House, record
from tests.time_authority import TimeAuthority

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
DAY_NS = 24 * HOUR


def stamped_house(folder: Path, *authorities: TimeAuthority) -> House:
    return House(
        folder,
        time_authorities=[TimeAuthoritySetting(address=each.address, certificate=each.pem) for each in authorities],
    )


def shift(house: House, nanoseconds: int) -> None:
    """The store's clock goes wrong by so much, or time has gone by."""
    house.store.book.clock = lambda: time.time_ns() + nanoseconds


async def ask(house: House, *authorities: TimeAuthority) -> int:
    """Rounds until nothing more comes; how many stamps came. An authority that does not answer is passed over."""
    stamps, obtained = house.store.stamps, 0
    stamps.tend()
    by_pem = {each.pem.read_bytes(): each for each in authorities}
    async with new_client() as client:
        for fingerprint, known in stamps.authorities.items():
            address = by_pem[known.pem].address
            try:
                while came := await ask_all(stamps, client, fingerprint, address):
                    obtained += came
            except OutOfReach:
                pass
    stamps.tend()
    return obtained


def quiet(moment: int) -> int:
    """That moment, or one soon after it from which no take of a test goes over the turn of a minute: that would be one
    head more."""
    left = MINUTE - moment % MINUTE
    return moment + left if left < 30 * TICK_NS else moment


def recorded(house: House, order: Order, ticks: int = 20, began: int | None = None) -> TakeFolder:
    """A take recorded, delivered and sealed; it began now, unless another time is claimed."""
    spool = house.spool()
    take = record(house, spool, order, ticks=ticks, began=quiet(time.time_ns()) if began is None else began)
    house.deliver(take)
    assert house.store.sealing.seal(order.interview.hex())
    return take


def obtained(house: House) -> list[dict[str, object]]:
    """Details of each stamp that custody has, oldest first."""
    return [dict(each.event.details) for each in house.custody(Verb.STAMP_OBTAINED)]


def standing(house: House) -> list[str]:
    """Codes of the alarms that stand."""
    with house.store.book.reading() as session:
        return [row.code for row in session.query(AlarmRow).filter(AlarmRow.cleared_at.is_(None))]
