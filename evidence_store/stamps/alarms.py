"""The alarms that stamps raise and clear. Each names an authority by its fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.database.schema import AlarmRow

LATE: Final = "stamps-late"
"""Something has waited longer for its stamp than is allowed. Cleared when it has come."""
REFUSED: Final = "stamp-refused"
"""An authority gave out what is no stamp of its own. Cleared by the next good one."""
CLOCK: Final = "clock-contradicted"
"""A stamp contradicts the store's clock: cleared when one agrees with it again. Or what was stamped claims to be from
later: that one stands."""


def stands(session: Session, code: str, fingerprint: str) -> bool:
    """Whether one of this authority stands."""
    return bool(_of(session, code, fingerprint))


def clear(session: Session, code: str, fingerprint: str, now: int, contradicts: Sequence[str] | None = None) -> bool:
    """Ends those of this authority that stand, or those of them that say exactly this. False where none does."""
    found = [row for row in _of(session, code, fingerprint) if contradicts in (None, _contradicts(row))]
    for row in found:
        row.cleared_at = now
    return bool(found)


def _contradicts(row: AlarmRow) -> list[str]:
    found: list[str] = parse(row.details.encode()).get("contradicts", [])
    return found


def _of(session: Session, code: str, fingerprint: str) -> list[AlarmRow]:
    standing = session.scalars(select(AlarmRow).where(AlarmRow.code == code, AlarmRow.cleared_at.is_(None)))
    return [row for row in standing if parse(row.details.encode()).get("authority") == fingerprint]
