"""The store in memory: what was recorded, copies of it, custody, and how long it is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from api.services import (
    Account,
    CopyState,
    CopyStatus,
    CopyStream,
    CustodyEvent,
    Gap,
    Holding,
    Keeping,
    MediaInit,
    MediaSegment,
    MediaTake,
    MediaTrack,
    Viewing,
)
from api.services.store import StoreState, VaultState
from evidence_store.custody import Verb
from evidence_store.errors import CiphertextInvalid, Conflict, NotFound
from evidence_store.people import Role
from tests.api.fake_people import NOON, Clock


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
