"""What the routes need from the rest of Vidne: small protocols, and the facts they pass.

Implementations raise the errors of `evidence_store.errors`; the routes turn those into pages and problem details by
`code`. Synchronous methods are called in a worker thread and may do I/O; asynchronous ones run on the event loop and
must not block it. Every time is an aware UTC datetime. Every id is opaque and safe in a URL; a case number never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from api.store_state import StoreStatus
from evidence_store.identifiers import CaseNumber
from evidence_store.interview import InterviewState
from evidence_store.people import Role


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in. `name` is shown on screens, `username` is typed; `id` is what the ledger knows."""

    id: str
    username: str
    name: str
    role: Role
    active: bool = True


class Accounts(Protocol):
    def sign_in(self, username: str, password: str, address: str, now: datetime) -> str:
        """Return a new session token. Raises NotAuthenticated (code `sign-in-failed` or `too-many-attempts`)."""
        ...

    def who(self, token: str, now: datetime, *, passive: bool = False) -> Account | None:
        """The account behind a live session, or None. `passive` requests (polling) do not keep a session alive."""
        ...

    def sign_out(self, token: str) -> None: ...

    def all(self) -> Sequence[Account]: ...


@dataclass(frozen=True, slots=True)
class Interview:
    """`case_number` and `child_ordinal` are None where the room began it by itself (`emergency`) and nobody has said
    yet whose interview it is. `overridden`: codes of checks that failed at its start; `explained`: whether somebody
    has said why it was started all the same.
    """

    id: str
    case_number: CaseNumber | None
    child_ordinal: int | None
    state: InterviewState
    created_at: datetime
    created_by: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    takes: int = 0
    emergency: bool = False
    overridden: tuple[str, ...] = ()
    explained: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptTake:
    """`enrolment` and `number` name the take; `head` is J of its last tick, 32 bytes.

    `ended` is how it ended: stopped, crashed, void.
    """

    enrolment: str
    number: int
    head: bytes
    started_at: datetime
    ended_at: datetime
    ended: str
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What everyone present at the stop can write down: the takes and their heads."""

    interview: Interview
    room: str
    issued_at: datetime
    takes: tuple[ReceiptTake, ...]


class Interviews(Protocol):
    def create(self, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        """Plan an interview. Raises Conflict (`interview-exists`) for the same child under the same number."""
        ...

    def find(self, case_number: CaseNumber, by: Account) -> Sequence[Interview]:
        """Every interview under exactly this case number, newest first. The search is itself in the log."""
        ...

    def get(self, interview: str) -> Interview:
        """Raises NotFound."""
        ...

    def recent(self, limit: int) -> Sequence[Interview]:
        """The newest ones; before them those that nobody has given a case number yet."""
        ...

    def assign(self, interview: str, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        """Say whose interview it is. Raises NotFound, Conflict (`interview-assigned`)."""
        ...

    def explain(self, interview: str, reason: str, by: Account) -> None:
        """Write down why it was started as it was. Raises NotFound, InvalidInput."""
        ...

    async def start(self, interview: str, by: Account) -> None:
        """When this returns, media is being sealed. Raises Conflict (`room-busy`), Unavailable."""
        ...

    async def stop(self, interview: str, by: Account) -> Receipt:
        """Close the take and return its receipt. Raises Conflict (`not-recording`), Unavailable."""
        ...

    def receipt(self, interview: str) -> Receipt:
        """Raises NotFound, or Conflict (`not-ended`) while there is nothing to give a receipt for."""
        ...


class Lamp(StrEnum):
    """What the recording lamp says. RECORDING only when what it speaks of is durable on disk."""

    IDLE = "idle"
    RECORDING = "recording"
    NOT_DURABLE = "recording-not-durable"
    ALARM = "alarm"


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
    what a start would be made in spite of; `spool_minutes` how long the disk lasts at the present rate."""

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
    spool_minutes: int | None = None


class Room(Protocol):
    async def state(self) -> RoomState:
        """Raises OutOfReach when the room node does not answer: then nobody may believe the last answer."""
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


@dataclass(frozen=True, slots=True)
class MediaInit:
    epoch: int
    codec: str


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """Times in the track's timescale, from the take's origin. `key_frames` are the media times of its key frames."""

    number: int
    epoch: int
    start: int
    duration: int
    key_frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaTrack:
    """`kind` is `video` or `audio`; `inits` name the codec string (RFC 6381) of each init epoch."""

    id: str
    camera: str
    kind: str
    timescale: int
    inits: tuple[MediaInit, ...]
    segments: tuple[MediaSegment, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """A declared gap, in seconds from the take's origin. `track` is None when it concerns all of them."""

    start: float
    duration: float
    reason: str
    track: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the watch over content saw (`words.ALARMS`), in seconds from the take's origin, and of which track."""

    start: float
    duration: float
    kind: str
    track: str | None = None


@dataclass(frozen=True, slots=True)
class MediaTake:
    """`ordinal` counts 1, 2, 3 … within the interview and names the take in URLs; `number` is the room's take number.

    `started_at` is the time of the take's origin; `duration` in seconds.
    """

    ordinal: int
    number: int
    started_at: datetime
    duration: float
    ended: str
    tracks: tuple[MediaTrack, ...]
    gaps: tuple[Gap, ...] = ()
    observed: tuple[Observed, ...] = ()


@dataclass(frozen=True, slots=True)
class Viewing:
    """One person's viewing of one interview, opened with a purpose and closed by time."""

    id: str
    interview: str
    account: str
    purpose: str
    opened_at: datetime
    expires_at: datetime


class Media(Protocol):
    def index(self, interview: str) -> Sequence[MediaTake]: ...

    def open_viewing(self, interview: str, by: Account, purpose: str, now: datetime) -> Viewing:
        """Write the viewing into custody first, then return it. Raises Conflict (`not-sealed`), Unavailable."""
        ...

    def viewing(self, viewing: str) -> Viewing:
        """Raises NotFound."""
        ...

    def init(self, interview: str, ordinal: int, track: str, epoch: int) -> bytes:
        """The checked initialisation segment (ftyp + moov). Raises NotFound, Tampered."""
        ...

    def segment(self, interview: str, ordinal: int, track: str, number: int) -> bytes:
        """The checked media (moof + mdat …) of one segment. Raises NotFound, Tampered: then not a byte is returned."""
        ...


class CopyState(StrEnum):
    QUEUED = "queued"
    VERIFYING = "verifying"
    RENDERING = "rendering"
    PACKING = "packing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """`progress` is 0 to 1 over the whole copy. `error` is a code of `evidence_store.errors`, only when failed."""

    id: str
    interview: str
    state: CopyState
    progress: float
    requested_at: datetime
    requested_by: str
    reason: str
    error: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CopyStream:
    """`chunks` gives the age file; `file_name` carries no case number; `size` is None when not known beforehand."""

    file_name: str
    size: int | None
    chunks: Iterator[bytes]


class Copies(Protocol):
    def request(self, interview: str, by: Account, reason: str, recipient: str) -> str:
        """Queue a copy for one age recipient; return its id. Raises InvalidInput (`age-key`), Conflict."""
        ...

    def status(self, copy: str) -> CopyStatus: ...

    def of(self, interview: str) -> Sequence[CopyStatus]: ...

    def stream(self, copy: str, by: Account) -> CopyStream:
        """Write the hand-over into custody, then stream. Raises NotFound, Conflict (`copy-not-ready`)."""
        ...


@dataclass(frozen=True, slots=True)
class CustodyEvent:
    """One line of the custody chain as shown. `verb` is looked up in the Danish words; `index` is its ledger place."""

    at: datetime
    verb: str
    who: str
    role: str
    purpose: str = ""
    detail: str = ""
    index: int | None = None


class Custody(Protocol):
    def events(self, interview: str) -> Sequence[CustodyEvent]: ...

    def denied(self, account: Account, permission: str, now: datetime) -> None:
        """Record `access:denied`. Called before the refusal is sent."""
        ...


@dataclass(frozen=True, slots=True)
class Holding:
    """A hold that stands. `by`: the name of who placed it."""

    id: str
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long an interview has to be kept, what holds it, and who asked for its erasure, if somebody did.

    `until` is None before it has ended; `erased_at` before its key is gone.
    """

    until: datetime | None
    holds: tuple[Holding, ...] = ()
    requested_at: datetime | None = None
    requested_by: str | None = None
    requested_by_id: str | None = None
    reason: str | None = None
    erased_at: datetime | None = None


class Retention(Protocol):
    """Each act raises NotFound, and Conflict with a code of `evidence_store.retention`; nothing has changed then."""

    def standing(self, interview: str) -> Keeping: ...

    def hold(self, interview: str, by: Account, reason: str) -> None: ...

    def release(self, interview: str, hold: str, by: Account, reason: str) -> None: ...

    def request(self, interview: str, by: Account, reason: str) -> None: ...

    def withdraw(self, interview: str, by: Account) -> None: ...

    def approve(self, interview: str, by: Account) -> None:
        """Decide and carry out what another person asked for. It cannot be undone."""
        ...


@dataclass(frozen=True, slots=True)
class WitnessState:
    """A witness of the ledger: up to which size it stands for it (0: not at all yet), and by a cosignature of when.
    `refused` is a code (`ledger-rolled-back`, `ledger-rewritten`) where it says no."""

    name: str
    covered: int
    cosigned_at: datetime | None
    late: bool
    refused_at: datetime | None = None
    refused: str | None = None


class Witnesses(Protocol):
    def states(self) -> Sequence[WitnessState]: ...


@dataclass(frozen=True, slots=True)
class Services:
    accounts: Accounts
    interviews: Interviews
    room: Room
    live: Live
    media: Media
    copies: Copies
    custody: Custody
    store: StoreStatus
    clock: Callable[[], datetime]
    retention: Retention
    witnesses: Witnesses | None = None
    """None where no witness policy is set."""


@dataclass(frozen=True, slots=True)
class DemoAccount:
    username: str
    password: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class CameraName:
    """A camera of the room profile, as pages name it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the web application must know of its surroundings.

    `secure` is true when browsers reach it over TLS: cookies are then `__Host-`, and HSTS is sent. `hosts` are the
    names it answers to; `origins` the exact origins unsafe requests may come from. `body_limits` maps a path prefix to
    a greatest body in bytes, beside `body_limit` for everything else. `cameras` are those of the room profile, in the
    order they are shown. `fingerprint` is that of the store's root certificate, which is given out beforehand;
    `ledger_key` is the ledger's verifier key, which witnesses are given.
    """

    house: str = "Børnehus"
    room: str = "rum-1"
    room_name: str = "Afhøringsrum 1"
    cameras: tuple[CameraName, ...] = (CameraName("wide", "Hele rummet"), CameraName("close", "Nær"))
    secure: bool = False
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    origins: tuple[str, ...] = ()
    demo: tuple[DemoAccount, ...] = ()
    body_limit: int = 64 * 1024
    body_limits: tuple[tuple[str, int], ...] = ()
    fingerprint: str = ""
    ledger_key: str = ""
