"""Between the store's nanoseconds and the routes' aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ns: int) -> datetime:
    """Nanoseconds UTC as a datetime, to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def nanoseconds(at: datetime) -> int:
    elapsed = at - _EPOCH
    return ((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds) * 1000
