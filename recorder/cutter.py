"""From the room's tracks to the ticks of one take: cut one after the other, gathered, offered to be sealed.

What could not be taken is declared by the first tick that is. Knows neither orders, nor the disk, nor keys: who runs
the recorder says when a take begins and ends (`recorder.node`), and hands what is offered to the sealing thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from evidence_store.canonical import Record
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.tick import Message
from recorder.cameras import Cameras
from recorder.datagrams import READ_SOON_S, DatagramReader
from recorder.fragments import Cut
from recorder.sealer import Tick
from recorder.ticker import Refused, describe_init, fragment_messages, track_event

CLOCK_STEP_NS = 50_000_000
LAST_UNIT_SECONDS = 0.1


class Moment(NamedTuple):
    """Both of this machine's clocks, read together, ns: what lies between two readings would look like a step."""

    monotonic_ns: int
    utc_ns: int

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic_ns(), time.time_ns())


class Cutter:
    """`events`: what goes into the journal with the next tick. `described`: each track's picture as it is now.
    `began_ns`, `began_utc_ns`: the origin of the take, by this machine's monotonic clock and by its UTC."""

    def __init__(self, entries: list[TrackEntry], cameras: Cameras, ask_key_frame: Callable[[str], None]) -> None:
        self._entries, self._cameras, self._ask_key_frame = entries, cameras, ask_key_frame
        self._tracks = cameras.tracks
        self.events: list[Record] = []
        self.described: dict[str, Record] = {}
        self.began_ns = 0
        self.began_utc_ns = 0
        self.refused: Refused | None = None
        self._accepted_utc_ns = 0
        self._clock_offset: int | None = None

    def begin(self, opening: list[Record]) -> None:
        """A take runs from here on, from the oldest picture in memory that one can begin with."""
        now, utc = Moment.now()
        pre_rolls = [begins for track in self._tracks.values() if (begins := track.pre_roll_ns(now)) is not None]
        origin = min([*pre_rolls, now])
        self.began_ns, self.began_utc_ns = origin, utc - (now - origin)
        self._accepted_utc_ns = self.began_utc_ns
        self.refused, self._clock_offset = None, None
        for track in self._tracks.values():
            track.begin(origin, now)
        began: Record = {"monotonic": str(origin), "type": "origin", "utc": str(self.began_utc_ns)}
        self.events = [began, *opening]

    async def cut(self) -> tuple[Moment, dict[str, Cut]]:
        """What each track has for a tick, and of when. Between takes there is nothing to gather."""
        DatagramReader.shared().read()
        moment = Moment.now()
        cuts = {}
        for entry in self._entries:
            track = self._tracks[entry.id]
            cuts[entry.id] = track.cut(moment.monotonic_ns)
            if track.wants_key_frame:
                self._ask_key_frame(entry.camera)
            # A track's packets of a quarter second take a millisecond: in between, those of the others are read, and
            # go to whoever watches.
            await asyncio.sleep(0)
        return moment, cuts

    def gather(self, moment: Moment, cuts: dict[str, Cut]) -> Tick:
        """What the tracks gave, as one tick."""
        now, utc = moment
        messages: list[Message] = []
        events, self.events = self.events, []
        for entry in self._entries:
            cut = cuts[entry.id]
            for each in cut.fragments:
                messages += fragment_messages(entry, each)
                if each.init is not None:
                    self.described[entry.id] = describe_init(each.init)
            events += [track_event(entry, event, self.began_utc_ns) for event in cut.events]
        offset = utc - now
        if self._clock_offset is None:
            self._clock_offset = offset
        elif abs(offset - self._clock_offset) > CLOCK_STEP_NS:
            events.append({"from": str(now + self._clock_offset), "to": str(utc), "track": None, "type": "clock-step"})
            self._clock_offset = offset
        return Tick(messages, events, now, utc)

    def offer(self, tick: Tick, take: Callable[[Tick], bool], trouble: str) -> None:
        """`take(tick)` says whether it was taken; `trouble`: the reason to give for a gap that begins now."""
        events = tick.events
        if self.refused is not None:
            # What was refused is declared by the first tick that is taken again.
            events = self.refused.declaration() + events
        if take(Tick(tick.messages, events, tick.monotonic_ns, tick.utc_ns)):
            self.refused, self._accepted_utc_ns = None, tick.utc_ns
            return
        if self.refused is None:
            self.refused = Refused(self._accepted_utc_ns, tick.utc_ns, trouble)
        self.refused.add(tick)

    async def units_end(self) -> None:
        """Waits, at most LAST_UNIT_SECONDS, for a moment in which no picture has come in part only."""
        for _ in range(round(LAST_UNIT_SECONDS / READ_SOON_S)):
            DatagramReader.shared().read()
            if all(track.between_units for track in self._tracks.values()):
                return
            await asyncio.sleep(READ_SOON_S)

    def end(self) -> Tick:
        """The take is over: what is left of it."""
        moment = Moment.now()
        for track in self._tracks.values():
            track.end(moment.monotonic_ns)
        cuts = {name: track.cut(moment.monotonic_ns) for name, track in self._tracks.items()}
        closing = self.gather(moment, cuts)
        if self.refused is not None:
            closing.events[:0] = self.refused.declaration()
            self.refused = None
        return closing
