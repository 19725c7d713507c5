"""The room as it is now, and its live picture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from api.services.people import Account
from evidence_store.people import Role


class Lamp(StrEnum):
    """What the recording lamp says. RECORDING only when what it speaks of is durable on disk."""

    IDLE = "idle"
    RECORDING = "recording"
    NOT_DURABLE = "recording-not-durable"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class KnownCamera:
    """What a camera is known by, and since when. `by_certificate`: it keeps its certificate, so that this is held
    against it too. `stranger`: address and fingerprint of another one that sends, or sent, in its place."""

    address: str | None
    fingerprint: str
    since: datetime
    by_certificate: bool = False
    stranger: tuple[str | None, str] | None = None


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera of the room profile. `bitrate` in bit/s, `silence` in seconds since its last packet. `picture` and
    `sound`: whether it came just now, None where none is expected."""

    id: str
    name: str
    connected: bool
    silence: float | None = None
    bitrate: float | None = None
    width: int | None = None
    height: int | None = None
    picture: bool | None = None
    sound: bool | None = None
    known: KnownCamera | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """`code` is looked up in the Danish words (`api.web.words.ALARMS`); `track` or camera id it speaks of, if any."""

    code: str
    since: datetime
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    name: str
    role: Role
    since: datetime


@dataclass(frozen=True, slots=True)
class RoomState:
    """`recording_age` is the age in seconds of the newest durable tick, None when nothing is recorded. `checks` are
    what a start would be made in spite of; `spool_minutes` how long the disk lasts at the present rate; `memory` how
    the recorder's is kept out of swap (`api.processes.locked.Memory`)."""

    room: str
    lamp: Lamp
    at: datetime
    interview: str | None = None
    since: datetime | None = None
    take: int | None = None
    recording_age: float | None = None
    cameras: tuple[CameraState, ...] = ()
    viewers: tuple[Viewer, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    spool_free: int | None = None
    undelivered: int = 0
    checks: tuple[Alarm, ...] = ()
    memory: str | None = None
    spool_minutes: int | None = None


class Room(Protocol):
    async def state(self) -> RoomState:
        """Raises OutOfReach when the room node does not answer: then nobody may believe the last answer."""
        ...

    async def confirm_camera(self, camera: str, address: str | None, fingerprint: str, account: Account) -> None:
        """From here on the camera is known by these. Raises NotFound `camera-known`, Conflict `camera-other`,
        OutOfReach."""
        ...


@dataclass(frozen=True, slots=True)
class LiveReply:
    """The monitor room's answer to signalling: 201 with an SDP answer and a session id, or a refusal as it stands."""

    status: int
    body: bytes = b""
    content_type: str = "application/sdp"
    session: str | None = None
    retry_after: int | None = None


class Live(Protocol):
    async def whep_post(self, camera: str, offer: bytes, viewer: Account) -> LiveReply: ...

    async def renew(self, camera: str, session: str, viewer: Account) -> bool:
        """Extend the lease by 15 s. False when the session is no longer there, or is somebody else's."""
        ...

    async def delete(self, camera: str, session: str, viewer: Account) -> None: ...
