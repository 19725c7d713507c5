"""What the administrator is shown of the store: its vaults, the reading of everything in them, and its alarms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreAlarm:
    """`code` is looked up in the Danish words (`api.web.words.ALARMS`); `about`: the object, vault or take, if any."""

    code: str
    since: datetime
    about: str | None = None


@dataclass(frozen=True, slots=True)
class VaultState:
    """`place`: under whose hand it is. `lacking`: objects that another vault has and this one not, `since` when."""

    place: str
    lacking: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReadingState:
    """The latest reading of every stored copy. `copies` are those read so far."""

    number: int
    began: datetime
    ended: datetime | None
    copies: int
    mended: int
    lost: int


@dataclass(frozen=True, slots=True)
class StoreState:
    vaults: tuple[VaultState, ...]
    reading: ReadingState | None = None
    alarms: tuple[StoreAlarm, ...] = ()
    memory: str | None = None
    """How the web application's memory, which holds keys, is kept out of swap (`api.processes.locked.Memory`)."""


class StoreStatus(Protocol):
    def state(self) -> StoreState:
        """Names no person and no case. Raises OutOfReach."""
        ...
