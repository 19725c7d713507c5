"""Looks now and then whether the store's keys can be used: an HSM that is away shows before anybody needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from api.desk.standing import KEYS_AWAY
from api.services import Alarm
from evidence_store.authority import Authority
from evidence_store.errors import VidneError

EVERY_S: Final = 30.0

log = structlog.get_logger(__name__)


class KeyWatch:
    """Nothing waits for it: the pages show what the last look found."""

    def __init__(self, authority: Authority, clock: Callable[[], datetime]) -> None:
        self._authority, self._clock = authority, clock
        self._code: str | None = None
        self._since: datetime | None = None

    def alarms(self) -> tuple[Alarm, ...]:
        return () if self._since is None else (Alarm(KEYS_AWAY, self._since),)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Asks each key once. What it finds is kept, and logged where it changed."""
        try:
            self._authority.answers()
        except VidneError as error:
            self._found(error.code, str(error))
        except OSError as error:
            self._found("keys-unreadable", type(error).__name__)
        else:
            if self._since is not None:
                log.warning("keys_in_reach_again")
            self._code = self._since = None

    def _found(self, code: str, reason: str) -> None:
        if self._code != code:
            log.error("keys_out_of_reach", code=code, reason=reason)
        self._code, self._since = code, self._since or self._clock()
