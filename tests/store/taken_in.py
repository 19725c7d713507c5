"""What the store has taken in, as tests ask it; and closes signed again after a change."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select

from evidence_store.canonical import Record
from evidence_store.database.schema import AlarmRow, SegmentRow, TakeRow
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal
from recorder.spool import TakeFolder
from tests.house import House


def alarms(house: House) -> list[str]:
    with house.store.book.reading() as session:
        return list(session.scalars(select(AlarmRow.code).order_by(AlarmRow.id)))


def count(house: House, table: type[SegmentRow] | type[TakeRow]) -> int:
    with house.store.book.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def entries(house: House) -> int:
    with house.store.book.reading() as session:
        return house.store.book.ledger.verify_all(session).size


def stored(house: House) -> dict[str, bytes]:
    return {
        str(path.relative_to(house.vault)): path.read_bytes()
        for path in house.vault.rglob("*")
        if path.is_file() and path.parent.name not in ("checkpoints", "certificates")
    }


def resigned(house: House, take: TakeFolder, change: Callable[[Record], object], key: bool = False) -> bytes:
    """The close with something changed, signed anew by the device: what a stolen device could deliver."""
    close, _ = journal.decode_envelope(take.close.read_bytes())
    change(close)
    return journal.sign_close(close, house.device().signers(certs.new_key() if key else None))
