"""Alarms that stand as long as something in the house is not as it has to be, whatever the room does."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from api.desk.moments import moment
from api.services import Alarm

RECOVERY_KEY_HERE: Final = "recovery-key-here"
"""The recovery key lies beside the escrow that it opens: operations.md#the-recovery-key."""

KEYS_AWAY: Final = "keys-out-of-reach"
"""A key of the store cannot be used now: operations.md#an-hsm-that-does-not-answer."""

LONG_WORK_DOWN: Final = "long-work-down"
"""What is under way is not remembered over a restart: `api.long_work`."""

STANDING: Final = frozenset({RECOVERY_KEY_HERE, KEYS_AWAY, LONG_WORK_DOWN})


def standing_alarms(escrow: Path) -> tuple[Alarm, ...]:
    """Asked anew each time: a key that was taken away is gone from the pages at once."""
    try:
        made = (escrow / "recovery.key").stat().st_mtime_ns
    except OSError:
        return ()
    return (Alarm(RECOVERY_KEY_HERE, moment(made)),)
