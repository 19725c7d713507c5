"""The services in memory: what the pages need, and nothing that a real part of Vidne promises."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher

from api.identity.attempts import Attempts
from api.identity.passwords import Passwords
from api.identity.sessions import PasswordAccounts, StoredAccount, StoredSession
from api.services import (
    Account,
    Alarm,
    CameraState,
    CopyState,
    CopyStatus,
    CopyStream,
    CustodyEvent,
    DemoAccount,
    Gap,
    Holding,
    Interview,
    Keeping,
    KnownCamera,
    Lamp,
    LiveReply,
    MediaInit,
    MediaSegment,
    MediaTake,
    MediaTrack,
    Receipt,
    ReceiptTake,
    RoomState,
    Services,
    Viewer,
    Viewing,
    WebSettings,
)
from api.services.store import StoreState, VaultState
from evidence_store.custody import Verb
from evidence_store.errors import CiphertextInvalid, Conflict, NotFound, OutOfReach
from evidence_store.identifiers import CaseNumber, new_interview_id
from evidence_store.interview import InterviewState
from evidence_store.people import Role

NOON = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
ENROLMENT = "00112233445566778899aabbccddeeff"
PASSWORD = "børnehus-demo"
CASE = "0100-83986-00001-17"

PEOPLE = (
    Account("a1", "tekniker", "Tove Tekniker", Role.OPERATOR),
    Account("a2", "boernehus", "Birk Børnehus", Role.HOUSE_STAFF),
    Account("a3", "anklager", "Anna Anklager", Role.PROSECUTOR),
    Account("a4", "system", "Sander System", Role.ADMINISTRATOR),
)
BY_ROLE = {person.role: person for person in PEOPLE}


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **amount: float) -> None:
        self.now += timedelta(**amount)


def cheap_passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class MemoryAccounts:
    """`AccountRepository` in a dictionary. `writes` counts how often a session's end was moved."""

    def __init__(self, passwords: Passwords) -> None:
        stored = passwords.hash(PASSWORD)
        self.accounts = {person.id: StoredAccount(person, stored) for person in PEOPLE}
        self.sessions: dict[bytes, StoredSession] = {}
        self.writes = 0

    def by_username(self, username: str) -> StoredAccount | None:
        return next((each for each in self.accounts.values() if each.account.username == username), None)

    def by_id(self, account: str) -> Account | None:
        stored = self.accounts.get(account)
        return stored.account if stored else None

    def all(self) -> Sequence[Account]:
        return [each.account for each in self.accounts.values()]

    def add_session(self, session: StoredSession) -> None:
        self.sessions[session.digest] = session

    def session(self, digest: bytes) -> StoredSession | None:
        return self.sessions.get(digest)

    def extend(self, digest: bytes, expires_at: datetime) -> None:
        self.writes += 1
        self.sessions[digest] = replace(self.sessions[digest], expires_at=expires_at)

    def end_session(self, digest: bytes) -> None:
        self.sessions.pop(digest, None)


@dataclass
class FakeRoom:
    clock: Clock
    lamp: Lamp = Lamp.IDLE
    interview: str | None = None
    since: datetime | None = None
    take: int = 40
    connected: bool = True
    reachable: bool = True
    alarms: tuple[Alarm, ...] = ()
    viewers: tuple[Viewer, ...] = ()
    known: KnownCamera | None = None
    confirmed: list[tuple[str, str | None, str]] = field(default_factory=list)

    async def confirm_camera(self, camera: str, address: str | None, fingerprint: str, account: Account) -> None:
        if self.known is None or self.known.stranger != (address, fingerprint):
            raise Conflict("another sender came meanwhile", code="camera-other")
        self.confirmed.append((camera, address, fingerprint))

    def checks(self) -> tuple[Alarm, ...]:
        failing = self.interview is None and not self.connected
        return (Alarm("camera-lost", self.clock(), "Nær"),) if failing else ()

    async def state(self) -> RoomState:
        if not self.reachable:
            raise OutOfReach("the room node does not answer")
        return RoomState(
            room="rum-1",
            lamp=self.lamp,
            at=self.clock(),
            interview=self.interview,
            since=self.since,
            take=self.take if self.interview else None,
            recording_age=0.2 if self.interview else None,
            cameras=(
                CameraState("wide", "Hele rummet", True, 0.02, 4_200_000, 1920, 1080, known=self.known),
                CameraState("close", "Nær", self.connected, 0.03 if self.connected else 41.0, 3_900_000, 1920, 1080),
            ),
            viewers=self.viewers,
            alarms=self.alarms,
            spool_free=412_000_000_000,
            undelivered=2 if self.interview else 0,
            checks=self.checks(),
        )


@dataclass
class FakeInterviews:
    clock: Clock
    room: FakeRoom
    all: dict[str, Interview] = field(default_factory=dict)
    takes: dict[str, list[ReceiptTake]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def create(self, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        if any(i.case_number == case_number and i.child_ordinal == child_ordinal for i in self.all.values()):
            raise Conflict("exists", code="interview-exists")
        interview = Interview(
            new_interview_id(), case_number, child_ordinal, InterviewState.PLANNED, self.clock(), by.name
        )
        self.all[interview.id] = interview
        return interview

    def find(self, case_number: CaseNumber, by: Account) -> Sequence[Interview]:
        return [each for each in self.all.values() if each.case_number == case_number]

    def get(self, interview: str) -> Interview:
        if interview not in self.all:
            raise NotFound("no such interview")
        return self.all[interview]

    def recent(self, limit: int) -> Sequence[Interview]:
        return list(reversed(self.all.values()))[:limit]

    def assign(self, interview: str, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        found = self.get(interview)
        if found.case_number is not None:
            raise Conflict("assigned", code="interview-assigned")
        self.all[interview] = replace(found, case_number=case_number, child_ordinal=child_ordinal)
        return self.all[interview]

    def explain(self, interview: str, reason: str, by: Account) -> None:
        self.all[interview] = replace(self.get(interview), explained=True)
        self.reasons.append(reason)

    async def start(self, interview: str, by: Account) -> None:
        found = self.get(interview)
        if self.room.interview is not None:
            raise Conflict("recording", code="room-busy")
        self.room.interview, self.room.since, self.room.lamp = interview, self.clock(), Lamp.RECORDING
        self.room.take += 1
        self.all[interview] = replace(
            found, state=InterviewState.RECORDING, started_at=self.clock(), takes=found.takes + 1
        )

    async def stop(self, interview: str, by: Account) -> Receipt:
        found = self.get(interview)
        if self.room.interview != interview or self.room.since is None:
            raise Conflict("not recording", code="not-recording")
        take = ReceiptTake(
            ENROLMENT,
            self.room.take,
            hashlib.sha256(str(self.room.take).encode()).digest(),
            self.room.since,
            self.clock(),
            "stopped",
        )
        self.takes.setdefault(interview, []).append(take)
        self.room.interview, self.room.since, self.room.lamp = None, None, Lamp.IDLE
        self.all[interview] = replace(found, state=InterviewState.AVAILABLE, ended_at=self.clock())
        return self.receipt(interview)

    def receipt(self, interview: str) -> Receipt:
        found = self.get(interview)
        if interview not in self.takes:
            raise Conflict("not ended", code="not-ended")
        return Receipt(found, "Afhøringsrum 1", self.clock(), tuple(self.takes[interview]))


@dataclass
class FakeLive:
    sessions: dict[str, str] = field(default_factory=dict)
    cut: bool = False

    async def whep_post(self, camera: str, offer: bytes, viewer: Account) -> LiveReply:
        if camera not in ("wide", "close"):
            return LiveReply(404)
        if self.cut:
            return LiveReply(409, retry_after=1)
        session = secrets.token_urlsafe(18)
        self.sessions[session] = viewer.id
        return LiveReply(201, b"v=0\r\n", session=session)

    async def renew(self, camera: str, session: str, viewer: Account) -> bool:
        return self.sessions.get(session) == viewer.id

    async def delete(self, camera: str, session: str, viewer: Account) -> None:
        if self.sessions.get(session) == viewer.id:
            del self.sessions[session]


def short_take() -> MediaTake:
    segments = tuple(MediaSegment(i, 0, i * 180_000, 180_000, (i * 180_000, i * 180_000 + 90_000)) for i in range(6))
    sound = tuple(MediaSegment(i, 0, i * 96_000, 96_000) for i in range(6))
    return MediaTake(
        1,
        41,
        NOON,
        12.0,
        "stopped",
        tuple(
            track
            for camera in ("wide", "close")
            for track in (
                MediaTrack(f"{camera}-video", camera, "video", 90_000, (MediaInit(0, "avc1.42c01e"),), segments),
                MediaTrack(f"{camera}-audio", camera, "audio", 48_000, (MediaInit(0, "opus"),), sound),
            )
        ),
        (Gap(5.0, 1.4, "reconnect", "close-video"), Gap(9.0, 0.2, "loss", "wide-video")),
    )


@dataclass
class FakeMedia:
    clock: Clock
    takes: tuple[MediaTake, ...] = field(default_factory=lambda: (short_take(),))
    viewings: dict[str, Viewing] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)

    def index(self, interview: str) -> Sequence[MediaTake]:
        return self.takes

    def open_viewing(self, interview: str, by: Account, purpose: str, now: datetime) -> Viewing:
        viewing = Viewing(secrets.token_urlsafe(12), interview, by.id, purpose, now, now + timedelta(hours=2))
        self.viewings[viewing.id] = viewing
        return viewing

    def viewing(self, viewing: str) -> Viewing:
        if viewing not in self.viewings:
            raise NotFound("no such viewing")
        return self.viewings[viewing]

    def init(self, interview: str, ordinal: int, track: str, epoch: int) -> bytes:
        return b"init"

    def segment(self, interview: str, ordinal: int, track: str, number: int) -> bytes:
        if number in self.damaged:
            raise CiphertextInvalid("the segment does not open")
        if number > 5:
            raise NotFound("no such segment")
        return b"media"


@dataclass
class FakeCopies:
    clock: Clock
    all: dict[str, CopyStatus] = field(default_factory=dict)
    content: bytes = b"age-encryption.org/v1\n" + bytes(1000)

    def request(self, interview: str, by: Account, reason: str, recipient: str) -> str:
        copy = secrets.token_urlsafe(12)
        self.all[copy] = CopyStatus(copy, interview, CopyState.RENDERING, 0.42, self.clock(), by.name, reason)
        return copy

    def status(self, copy: str) -> CopyStatus:
        if copy not in self.all:
            raise NotFound("no such copy")
        return self.all[copy]

    def of(self, interview: str) -> Sequence[CopyStatus]:
        return [each for each in self.all.values() if each.interview == interview]

    def finish(self, copy: str) -> None:
        digest = hashlib.sha256(self.content).hexdigest()
        self.all[copy] = replace(
            self.all[copy], state=CopyState.READY, progress=1.0, size=len(self.content), sha256=digest
        )

    def stream(self, copy: str, by: Account) -> CopyStream:
        if self.status(copy).state is not CopyState.READY:
            raise Conflict("not ready", code="copy-not-ready")

        def chunks() -> Iterator[bytes]:
            yield self.content[:500]
            yield self.content[500:]

        return CopyStream(f"beviskopi-{copy}.age", len(self.content), chunks())


@dataclass
class FakeCustody:
    denials: list[tuple[str, str]] = field(default_factory=list)

    def events(self, interview: str) -> Sequence[CustodyEvent]:
        def line(minute: int, verb: Verb, who: str, role: str, purpose: str = "", detail: str = "") -> CustodyEvent:
            return CustodyEvent(NOON + timedelta(minutes=minute), verb, who, role, purpose, detail, 1200 + minute)

        return [
            line(0, Verb.INTERVIEW_CREATED, "Tove Tekniker", Role.OPERATOR),
            line(2, Verb.TAKE_STARTED, "recorder", "", "", "Optagelse nr. 41"),
            line(3, Verb.VIEWER_JOINED, "Birk Børnehus", Role.HOUSE_STAFF),
            line(8, Verb.GAP, "recorder", "", "", "close-video, 1,4 sek.: kameraet var afbrudt"),
            line(62, Verb.TAKE_CLOSED, "Tove Tekniker", Role.OPERATOR, "", "Optagelse nr. 41"),
            line(63, Verb.INTERVIEW_SEALED, "store", ""),
            line(95, Verb.MEDIA_VIEWED, "Anna Anklager", Role.PROSECUTOR, "Vurdering af tiltalespørgsmålet"),
        ]

    def denied(self, account: Account, permission: str, now: datetime) -> None:
        self.denials.append((account.id, permission))


class FakeStore:
    def __init__(self) -> None:
        self.now = StoreState((VaultState("machine 0a1b2c3d"),))

    def state(self) -> StoreState:
        return self.now


@dataclass
class FakeRetention:
    """Keeps what was asked of it; the law of it is `evidence_store.retention`'s."""

    clock: Clock
    keeping: Keeping = field(default_factory=lambda: Keeping(NOON))
    asked: list[tuple[str, str]] = field(default_factory=list)

    def standing(self, interview: str) -> Keeping:
        return self.keeping

    def hold(self, interview: str, by: Account, reason: str) -> None:
        self.asked.append(("hold", reason))
        self.keeping = replace(self.keeping, holds=(Holding("1" * 32, self.clock(), by.name, reason),))

    def release(self, interview: str, hold: str, by: Account, reason: str) -> None:
        self.asked.append(("release", reason))
        self.keeping = replace(self.keeping, holds=())

    def request(self, interview: str, by: Account, reason: str) -> None:
        self.asked.append(("request", reason))
        self.keeping = replace(
            self.keeping, requested_at=self.clock(), requested_by=by.name, requested_by_id=by.id, reason=reason
        )

    def withdraw(self, interview: str, by: Account) -> None:
        self.asked.append(("withdraw", by.id))
        self.keeping = Keeping(self.keeping.until, self.keeping.holds)

    def approve(self, interview: str, by: Account) -> None:
        if self.keeping.requested_by_id is None or self.keeping.requested_by_id == by.id:
            raise Conflict("not two", code="erasure-same-person")
        self.asked.append(("approve", by.id))


@dataclass
class World:
    """Every fake, reachable by name, behind one `Services`."""

    clock: Clock
    accounts: MemoryAccounts
    room: FakeRoom
    interviews: FakeInterviews
    live: FakeLive
    media: FakeMedia
    copies: FakeCopies
    custody: FakeCustody
    retention: FakeRetention
    store: FakeStore
    services: Services


def world() -> World:
    clock = Clock()
    passwords = cheap_passwords()
    repository = MemoryAccounts(passwords)
    room = FakeRoom(clock)
    interviews = FakeInterviews(clock, room)
    live, media, copies, custody = FakeLive(), FakeMedia(clock), FakeCopies(clock), FakeCustody()
    store = FakeStore()
    retention = FakeRetention(clock)
    services = Services(
        PasswordAccounts(repository, passwords, Attempts()),
        interviews,
        room,
        live,
        media,
        copies,
        custody,
        store,
        clock,
        retention,
    )
    return World(clock, repository, room, interviews, live, media, copies, custody, retention, store, services)


def settings(**changes: object) -> WebSettings:
    base = WebSettings(house="Børnehus Demo", hosts=("testserver", "127.0.0.1", "localhost"))
    return replace(base, **changes)  # type: ignore[arg-type]


def demo_accounts() -> tuple[DemoAccount, ...]:
    return tuple(DemoAccount(person.username, PASSWORD, person.name, person.role) for person in PEOPLE)
