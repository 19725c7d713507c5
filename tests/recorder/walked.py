"""A take as whoever has its files, the root and the interview's key sees it."""

from __future__ import annotations

from dataclasses import dataclass

from evidence_store.canonical import Record
from evidence_store.sealing import check
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.tick import open_message, place_of
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.house import House


@dataclass
class Walked:
    """A take as whoever has its files, the root and the interview's key sees it."""

    close: check.Close | None
    ticks: list[Record]
    clear: list[bytes]

    @property
    def gaps(self) -> list[Record]:
        return [event for each in self.ticks for event in each["events"] if event["type"] == "gap"]


def walk(house: House, take: TakeFolder, order: Order) -> Walked:
    """Checks everything: signatures, chain, close, and that every message opens. Raises what it finds."""
    start = check.check_start(take.start.read_bytes(), house.store.authority.root)
    wrap = take_wrap_info(start.enrolment, start.take, start.interview)
    ratchet = Ratchet(start.start_hash, bytearray(house.private_key(order).unwrap(start.wrap, wrap)))
    chain, found = check.Chain(start), Walked(None, [], [])
    for path in take.segments():
        header, ticks = chain.check_segment(path.read_bytes())
        keys = ratchet.keys_of(header.index)
        for each in ticks:
            found.ticks.append(each.record)
            for entry, ciphertext in each.parts():
                place = place_of(start.start_hash, each.record, entry)
                found.clear.append(open_message(keys, place, entry, ciphertext))
    if take.close.exists():
        close = take.close.read_bytes()
        found.close = check.check_close(close, start.device_certificate, start.device_ml_dsa_certificate, chain)
    return found
