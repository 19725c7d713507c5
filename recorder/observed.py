"""What the watch over content says, as the recorder keeps it: events for the journal, alarms for the room.

The watch decodes strangers' streams, so it is believed no further than this: that a thing of a fixed list began or
ended with a camera of this room, now or a moment ago, and not too often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evidence_store.canonical import Record
from evidence_store.sealing.journal import TrackEntry
from recorder.sdp import Kind as Medium
from recorder.watching.judge import Observation
from recorder.watching.kinds import RULES, SECOND_NS, Kind
from recorder.watching.messages import parse_observation

WELL_WITHIN_NS = 5 * SECOND_NS
"""A watch that has not said that it is well for so long is down."""
LONGEST_AGO_NS = 120 * SECOND_NS
MOST_A_MINUTE = 120
"""Observations of one track that are taken in a minute: more than one kind alone can begin and end in it."""

Key = tuple[str, Medium, Kind]


@dataclass(frozen=True, slots=True)
class _Open:
    from_utc_ns: int
    measure: int


class Observed:
    """Implements `recorder.watching.door.Watch`. `tell(event)` hears what belongs into the journal of a running take.

    `expected`: whether a watch should be there at all. `monotonic` and `utc` give nanoseconds.
    """

    def __init__(
        self,
        entries: Iterable[TrackEntry],
        tell: Callable[[Record], None],
        *,
        expected: bool,
        monotonic: Callable[[], int] = time.monotonic_ns,
        utc: Callable[[], int] = time.time_ns,
    ) -> None:
        self._index = {(entry.camera, entry.kind): entry.index for entry in entries}
        self._tell, self._expected, self._monotonic, self._utc = tell, expected, monotonic, utc
        self._open: dict[Key, _Open] = {}
        self._well_ns = monotonic()
        self._taken: dict[tuple[str, Medium], list[int]] = {}

    def well(self) -> None:
        self._well_ns = self._monotonic()

    def down(self, now_ns: int) -> bool:
        """Whether nobody watches though somebody should. A watch has so long to begin with, too."""
        return self._expected and now_ns - self._well_ns > WELL_WITHIN_NS

    def observation(self, body: bytes) -> None:
        """One observation from the watch. Raises ValueError for what it may not say."""
        said, now = parse_observation(body), self._monotonic()
        if (said.camera, said.medium) not in self._index:
            raise ValueError("no such track in this room")
        if not now - LONGEST_AGO_NS <= said.at_ns <= now:
            raise ValueError("not now")
        self._count(said, now)
        ahead, key = self._utc() - now, (said.camera, said.medium, said.kind)
        if said.act == "began" and key not in self._open:
            began = self._open[key] = _Open(said.from_ns + ahead, said.measure)
            self._tell(self._event(key, began))
        elif said.act == "ended" and (open_one := self._open.pop(key, None)) is not None:
            self._tell(self._event(key, open_one, "ended", said.at_ns + ahead, said.measure))

    def _count(self, said: Observation, now_ns: int) -> None:
        taken = self._taken.setdefault((said.camera, said.medium), [])
        taken[:] = [at for at in taken if now_ns - at < 60 * SECOND_NS]
        if len(taken) >= MOST_A_MINUTE:
            raise ValueError("too many observations")
        taken.append(now_ns)

    def gone(self) -> None:
        """The watch is no more: what it had begun to see may go on, but nobody knows."""
        now = self._utc()
        for key, open_one in list(self._open.items()):
            del self._open[key]
            self._tell(self._event(key, open_one, "lapsed", now, None))

    def present(self) -> list[Record]:
        """What holds now, as events for the beginning of a take."""
        return [self._event(key, each) for key, each in self._open.items()]

    def describe(self, *, recording: bool) -> list[Record]:
        """Alarms: what holds now and concerns whoever looks at the room. Moments in nanoseconds UTC as strings."""
        return [
            {"camera": camera, "kind": kind.value, "medium": medium, "since": str(each.from_utc_ns)}
            for (camera, medium, kind), each in self._open.items()
            if recording or not RULES[kind].in_an_interview
        ]

    def _event(
        self, key: Key, observed: _Open, act: str = "began", to_utc_ns: int | None = None, measure: int | None = None
    ) -> Record:
        camera, medium, kind = key
        return {
            "act": act,
            "camera": camera,
            "from": str(observed.from_utc_ns),
            "kind": kind.value,
            "measure": observed.measure if act == "began" else measure,
            "to": None if to_utc_ns is None else str(to_utc_ns),
            "track": self._index[camera, medium],
            "type": "observation",
        }
