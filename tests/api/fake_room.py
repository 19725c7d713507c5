"""The room in memory: what it says, interviews in it, and its live picture."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from api.services import (
    Account,
    Alarm,
    CameraState,
    Interview,
    KnownCamera,
    Lamp,
    LiveReply,
    Receipt,
    ReceiptTake,
    RoomState,
    Viewer,
)
from evidence_store.errors import Conflict, NotFound, OutOfReach
from evidence_store.identifiers import CaseNumber, new_interview_id
from evidence_store.interview import InterviewState
from tests.api.fake_people import ENROLMENT, Clock


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
