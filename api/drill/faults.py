"""What a drill can break while it records, how it is mended again, and what must then be true of the evidence.

    kill    the recorder dies by signal 9
    cable   a camera's cable is out for a while
    disk    the spool reaches its limit, and later there is space again
    store   the store's vault takes nothing, and later it does
    api     the web application dies by signal 9 and stays away for a while

The promise is the same for all: what was recorded before stays recorded, what was lost is declared, nothing else is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from api.drill.accounts import declared, lost_seconds
from api.drill.cable import Cable
from api.drill.house import House
from api.drill.visitor import DrillFailed
from api.processes.house import camera_program
from api.processes.supervisor import Program
from api.settings import Settings
from api.wiring import Store
from evidence_store.intake import segments_of
from evidence_store.sealed import media_span, takes_of
from hardware.profile import Camera
from recorder.sealing_thread import MAX_WAITING

LOST_AT_MOST: Final = 0.5
BACK_WITHIN: Final = 8.0
PICTURE_BACK_WITHIN: Final = 4.0
"""Seconds from a cable's return to the end of its gap: the next key frame."""
QUEUE_SECONDS: Final = MAX_WAITING / 4
"""What waits in memory while the disk is full; less than that, and nothing is lost."""
_LOOK_EVERY: Final = 0.05

Gaps = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Seen:
    """What the recorder said of itself while something was broken. `oldest`: seconds, of the newest durable tick."""

    alarms: set[str] = field(default_factory=set)
    states: set[str] = field(default_factory=set)
    takes: set[int] = field(default_factory=set)
    oldest: float = 0.0
    undelivered: int = 0

    async def look(self, house: House) -> dict[str, Any]:
        described = await house.room()
        if described:
            self.alarms.update(described["alarms"])
            self.states.add(described["state"])
            self.takes.add(described["take"])
            self.oldest = max(self.oldest, described["durable_age"] or 0.0)
            self.undelivered = max(self.undelivered, described["undelivered"])
        return described

    async def during(self, house: House, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await self.look(house)
            await asyncio.sleep(_LOOK_EVERY)

    async def until(self, house: House, right: Callable[[dict[str, Any]], bool]) -> float:
        """How long it took, in seconds."""
        began = time.monotonic()
        while not ((described := await self.look(house)) and right(described)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_LOOK_EVERY)
        return time.monotonic() - began

    def went_on(self, alarm: str) -> None:
        """Raises DrillFailed unless the recording went on, durably, in one take, and said what was wrong."""
        if self.states != {"recording"} or len(self.takes) != 1:
            raise DrillFailed(f"the recording did not go on: {self.states}, takes {self.takes}")
        if alarm not in self.alarms:
            raise DrillFailed(f"no alarm {alarm}, only {sorted(self.alarms)}")


class Fault:
    """Nothing is broken. The faults below break something in `strike`, and are done when it is mended.

    `figures` collects what was measured; `seconds` is how long the drill records, half of that broken.
    """

    def __init__(self, settings: Settings, seconds: float, figures: dict[str, float | int | str]) -> None:
        self.settings = settings
        self.seconds = seconds
        self.figures = figures

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def camera(self, camera: Camera) -> Program:
        return camera_program(self.settings, camera)

    async def prepare(self, house: House, rehearse: Callable[[], Awaitable[None]]) -> None:
        """Before the interview. `rehearse()` records another one, for a second, and delivers it."""

    async def strike(self, house: House) -> str:
        await asyncio.sleep(self.seconds)
        described = await house.room()
        return f"{self.seconds:.0f} s, {described['durable_tick'] + 1} ticks durable, alarms {described['alarms']}"

    def account(self, store: Store, interview: str, takes: int, gaps: Gaps) -> str:
        """What it cost, from what was stored. Raises DrillFailed where that is not what was promised."""
        return self._nothing_lost(takes, gaps)

    def _nothing_lost(self, takes: int, gaps: Gaps) -> str:
        self.figures["lost_s"] = 0.0
        if takes != 1 or gaps:
            raise DrillFailed(f"something was lost that need not be: {takes} takes, {gaps}")
        return "; nothing lost"

    def _tracks(self) -> list[str]:
        return [track.id for track in self.settings.room_profile().tracks]


class Kill(Fault):
    killed_at = 0.0

    async def strike(self, house: House) -> str:
        await asyncio.sleep(self.seconds / 2)
        before = await house.room()
        self.killed_at = time.time()
        os.kill(house.pid("recorder"), signal.SIGKILL)
        back = await Seen().until(
            house, lambda now: now.get("durable_tick") is not None and now["take"] != before["take"]
        )
        self.figures["kill_to_durable_s"] = round(back, 3)
        if back > BACK_WITHIN:
            raise DrillFailed(f"the next tick was durable only after {back:.1f} s")
        await house.cameras_send()
        await asyncio.sleep(self.seconds / 2)
        return f"killed with signal 9 mid-recording; take {before['take'] + 1} durable after {back:.2f} s"

    def account(self, store: Store, interview: str, takes: int, gaps: Gaps) -> str:
        crashes = [gap for gap in gaps if gap["reason"] == "crashed" and gap["track"] is None]
        if len(crashes) != 1 or crashes[0]["to"] is None:
            raise DrillFailed(f"the gap is not declared with both times: {gaps}")
        with store.book.reading() as session:
            take = takes_of(session, interview)[0]
            tracks = store.playback.start(take.enrolment, take.n).tracks
            span = media_span(take, segments_of(session, take.enrolment, take.n), tracks)
        lost = self.killed_at - (span[1] if span else 0) / 1e9
        stretches = declared(gaps, self._tracks())
        gap = max(lost_seconds(each) for each in stretches.values())
        self.figures["durable_before_kill_s"] = round(lost, 3)
        self.figures["gap_s"] = self.figures["lost_s"] = round(gap, 3)
        if lost > LOST_AT_MOST:
            raise DrillFailed(f"what was durable ends {lost:.2f} s before the kill")
        if any(len(each) != 1 for each in stretches.values()):
            raise DrillFailed(f"one kill is one gap of each track, until its media is back: {gaps}")
        return f"; durable to {lost:.2f} s before the kill, gap of {gap:.2f} s declared"


class CableOut(Fault):
    """The first camera's. Its packets are gone; the others' are not touched."""

    cable: Cable
    from_utc = 0.0
    to_utc = 0.0

    async def __aenter__(self) -> Self:
        camera = self.settings.room_profile().cameras[0]
        self.cable = await Cable(f"{self.settings.recorder_url}/whip/{camera.id}").__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cable.__aexit__(None, None, None)

    def camera(self, camera: Camera) -> Program:
        program = camera_program(self.settings, camera)
        if camera.id != self.settings.room_profile().cameras[0].id:
            return program
        arguments = [self.cable.url if each == self.cable.endpoint else each for each in program.arguments]
        return Program(program.name, arguments, program.environment)

    async def strike(self, house: House) -> str:
        camera, seen = self.settings.room_profile().cameras[0].id, Seen()
        await asyncio.sleep(self.seconds / 4)
        self.from_utc, self.cable.out = time.time(), True
        # Less than two seconds of silence is no alarm yet.
        await seen.during(house, max(self.seconds / 2, 2.5))
        self.to_utc, self.cable.out = time.time(), False
        back = await seen.until(house, lambda now: all(each["heard"] for each in now["cameras"]))
        seen.went_on("camera-lost")
        self.figures |= {"fault_s": round(self.to_utc - self.from_utc, 3), "back_s": round(back, 3)}
        self.figures["oldest_durable_s"] = round(seen.oldest, 3)
        # The gap ends with a key frame.
        await asyncio.sleep(max(self.seconds / 4, 2.0))
        out = self.to_utc - self.from_utc
        return f"cable of '{camera}' out for {out:.1f} s, {self.cable.dropped} datagrams lost, heard {back:.2f} s after"

    def account(self, store: Store, interview: str, takes: int, gaps: Gaps) -> str:
        camera = self.settings.room_profile().cameras[0]
        cut = {track.id for track in camera.tracks}
        stretches = declared(gaps, self._tracks())
        if takes != 1 or any(stretches[track] for track in stretches if track not in cut):
            raise DrillFailed(f"the cable of one camera cost more than that camera: {takes} takes, {gaps}")
        for track in cut:
            covered = any(
                begin / 1e9 <= self.from_utc + LOST_AT_MOST and end / 1e9 >= self.to_utc - LOST_AT_MOST
                for begin, end in stretches[track]
            )
            if not covered:
                raise DrillFailed(f"{track}: the cut is not declared: {stretches[track]}")
        lost = max(lost_seconds(stretches[track]) for track in cut)
        self.figures["lost_s"] = self.figures["gap_s"] = round(lost, 3)
        if lost > self.to_utc - self.from_utc + PICTURE_BACK_WITHIN:
            raise DrillFailed(f"{lost:.1f} s were lost by {self.to_utc - self.from_utc:.1f} s without a cable")
        return f"; {lost:.2f} s of one camera lost and declared, nothing of the others"


class DiskFull(Fault):
    """The spool's limit is reached; then a take that the store has had leaves, and there is space."""

    full_s = 0.0

    async def prepare(self, house: House, rehearse: Callable[[], Awaitable[None]]) -> None:
        await rehearse()
        (take,) = (self.settings.room_folder / "spool").glob("*-1")
        size = sum(each.stat().st_size for each in take.glob("*.segment"))
        # A take of about two seconds: what a second needs, generously, and a body that fills the rest of the spool.
        second, ballast = size, 60_000_000 + int(size * self.seconds)
        with (take / "tail").open("wb") as file:
            file.truncate(ballast)
        (take / "tail.ack").touch()
        await house.restart("recorder", spool_limit=size + ballast + int(second * (2 + self.seconds / 4)))
        await house.cameras_send()
        await asyncio.sleep(1.2)
        self._leaving = take / "close.json.ack"

    async def strike(self, house: House) -> str:
        seen = Seen()
        await seen.until(house, lambda now: "spool-full" in now["alarms"])
        began = time.monotonic()
        await seen.during(house, self.seconds / 2)
        # Delivered long ago: it may go.
        os.utime(self._leaving, (0, 0))
        back = await seen.until(house, lambda now: now["durable"] and "spool-full" not in now["alarms"])
        self.full_s = time.monotonic() - began
        seen.went_on("spool-full")
        await asyncio.sleep(self.seconds / 4)
        self.figures |= {"fault_s": round(self.full_s, 3), "back_s": round(back, 3)}
        self.figures["oldest_durable_s"] = round(seen.oldest, 3)
        return f"disk full for {self.full_s:.1f} s, meanwhile up to {seen.oldest:.1f} s waited in memory"

    def account(self, store: Store, interview: str, takes: int, gaps: Gaps) -> str:
        if self.full_s < QUEUE_SECONDS - 2:
            return self._nothing_lost(takes, gaps)
        lost = max(lost_seconds(each) for each in declared(gaps, self._tracks()).values())
        self.figures["lost_s"] = self.figures["gap_s"] = round(lost, 3)
        if takes != 1 or {gap["reason"] for gap in gaps} - {"spool-full"} or lost > self.full_s:
            raise DrillFailed(f"a full disk cost more than its time: {takes} takes, {gaps}")
        return f"; {lost:.2f} s lost and declared, beyond the {QUEUE_SECONDS:.0f} s that memory holds"


class StoreGone(Fault):
    """The store answers, and takes nothing: its vault is full."""

    async def strike(self, house: House) -> str:
        seen = Seen()
        await asyncio.sleep(self.seconds / 4)
        began = time.monotonic()
        await self._take_away(house)
        await seen.until(house, lambda _: self.alarm in seen.alarms)
        await seen.during(house, self.seconds / 2)
        await self._bring_back(house)
        away = time.monotonic() - began
        back = await seen.until(house, lambda now: not now["alarms"] and now["undelivered"] <= 1)
        seen.went_on(self.alarm)
        if seen.oldest > LOST_AT_MOST * 3:
            raise DrillFailed(f"the recording waited: what was durable was {seen.oldest:.2f} s old")
        await asyncio.sleep(self.seconds / 4)
        self.figures |= {"fault_s": round(away, 3), "back_s": round(back, 3), "undelivered": seen.undelivered}
        self.figures["oldest_durable_s"] = round(seen.oldest, 3)
        return (
            f"{self.what} for {away:.1f} s, up to {seen.undelivered} objects waited, all delivered {back:.2f} s after; "
            f"what was durable was never older than {seen.oldest:.2f} s"
        )

    alarm = "store-unavailable"
    what = "vault full"

    async def _take_away(self, house: House) -> None:
        await house.restart("web", vault_limit=1)
        await house.answers()

    async def _bring_back(self, house: House) -> None:
        await house.restart("web", vault_limit=None)
        await house.answers()


class ApiKilled(StoreGone):
    alarm = "store-out-of-reach"
    what = "web application killed with signal 9 and away"

    async def _take_away(self, house: House) -> None:
        await house.kill("web")

    async def _bring_back(self, house: House) -> None:
        house.bring_back("web")
        await house.answers()


FAULTS: Final[dict[str, type[Fault]]] = {
    "kill": Kill,
    "cable": CableOut,
    "disk": DiskFull,
    "store": StoreGone,
    "api": ApiKilled,
}


def fault_named(name: str | None, settings: Settings, seconds: float, figures: dict[str, float | int | str]) -> Fault:
    """Raises KeyError for a name that is not in the table."""
    return (Fault if name is None else FAULTS[name])(settings, seconds, figures)
