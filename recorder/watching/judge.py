"""From measures to observations that begin and end: the decisions, with time as an argument. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recorder.sdp import Kind as Medium
from recorder.watching.kinds import (
    BLACK_DEVIATION,
    BLACK_MEAN,
    CLIPPED_SHARE,
    CLIPPED_SLACK,
    CLOCK_OFF_MS,
    CLOCK_SLACK_MS,
    DARK_BRIGHTEST,
    DARK_MEAN,
    FAST,
    LEAST_FRAME_RATE,
    LUMA_SLACK,
    QUIET_LEVEL,
    RULES,
    SILENT_PEAK,
    SLOW,
    STILL_CHANGE,
    Kind,
)
from recorder.watching.measures import Picture, Rate, Sound

Act = Literal["began", "ended"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing about one track that began or ended. Times are the recorder's monotonic clock, nanoseconds.

    `from_ns`: when what it says was first so; `at_ns`: when that was decided, or when it ceased. `measure`: a number
    in the kind's unit (`kinds.RULES`).
    """

    act: Act
    camera: str
    medium: Medium
    kind: Kind
    from_ns: int
    at_ns: int
    measure: int


@dataclass(slots=True)
class _Condition:
    wrong_since_ns: int | None = None
    right_since_ns: int | None = None
    open: bool = False


@dataclass(slots=True)
class Judge:
    """One track of one camera. Each method gives the observations that follow, mostly none.

    `frame_rate`: pictures a second that the room's profile expects, None where it says nothing. `heard_ns`: when
    something of the track last came; before that, since when it could have come.
    """

    camera: str
    medium: Medium
    heard_ns: int
    frame_rate: int | None = None
    _conditions: dict[Kind, _Condition] = field(default_factory=dict)
    _blind_ns: int = 0

    def heard(self, at_ns: int) -> list[Observation]:
        """A unit came."""
        found = self._judge(self._lost, False, at_ns, self._silence_ms(at_ns))
        self.heard_ns = at_ns
        return found

    def tick(self, now_ns: int) -> list[Observation]:
        """Time has passed. A track that has ceased to come is lost, and what else was said of it is over."""
        since = max(self.heard_ns, self._blind_ns)
        found = self._judge(self._lost, True, now_ns, self._silence_ms(now_ns), since)
        if found:
            found[:0] = self.lapse(since)
        return found

    def behind(self, now_ns: int) -> None:
        """Whoever watches has not seen what came up to now: that nothing was seen says nothing of the camera."""
        self._blind_ns = now_ns
        lost = self._conditions.get(self._lost)
        if lost is not None and not lost.open:
            lost.wrong_since_ns = None

    def lapse(self, at_ns: int) -> list[Observation]:
        """Nothing comes that could be judged: what is open ends, but for the loss itself."""
        ended = [
            Observation("ended", self.camera, self.medium, kind, condition.wrong_since_ns, at_ns, 0)
            for kind, condition in self._conditions.items()
            if condition.open and condition.wrong_since_ns is not None and kind is not self._lost
        ]
        self._conditions = {kind: each for kind, each in self._conditions.items() if kind is self._lost}
        return ended

    def picture(self, seen: Picture, at_ns: int) -> list[Observation]:
        """A picture was decoded."""
        found = self._judge(Kind.PICTURE_UNREADABLE, False, at_ns, 0)
        slack = LUMA_SLACK if self.open(Kind.BLACK) else 0
        black = seen.mean <= BLACK_MEAN + slack and seen.deviation <= BLACK_DEVIATION + slack
        found += self._judge(Kind.BLACK, black, at_ns, seen.mean)
        slack = LUMA_SLACK if self.open(Kind.LOW_LIGHT) else 0
        dark = seen.mean <= DARK_MEAN + slack and seen.brightest <= DARK_BRIGHTEST + slack
        found += self._judge(Kind.LOW_LIGHT, dark and not black, at_ns, seen.mean)
        still = seen.change <= STILL_CHANGE
        found += self._judge(Kind.FROZEN, still and not black, at_ns, seen.change, seen.still_since_ns)
        return found

    def rate(self, rate: Rate, at_ns: int) -> list[Observation]:
        """Pictures came at that rate."""
        hundred = 100 * (self.frame_rate or LEAST_FRAME_RATE)
        if self.frame_rate is None:
            wrong = rate.hundred < hundred
        else:
            wrong = not hundred * SLOW <= rate.hundred <= hundred * FAST
        return self._judge(Kind.WRONG_FRAME_RATE, wrong or rate.paused, at_ns, rate.hundred)

    def sound(self, heard: Sound, at_ns: int) -> list[Observation]:
        """Half a second was decoded."""
        found = self._judge(Kind.SOUND_UNREADABLE, False, at_ns, 0)
        silent = heard.peak <= SILENT_PEAK
        found += self._judge(Kind.SILENCE, silent, at_ns, heard.peak)
        found += self._judge(Kind.QUIET, heard.level <= QUIET_LEVEL and not silent, at_ns, heard.level)
        limit = CLIPPED_SHARE - (CLIPPED_SLACK if self.open(Kind.CLIPPED) else 0)
        found += self._judge(Kind.CLIPPED, heard.clipped >= limit, at_ns, heard.clipped)
        return found

    def unreadable(self, at_ns: int, count: int) -> list[Observation]:
        """`count` units in succession came whole and gave nothing when decoded."""
        kind = Kind.PICTURE_UNREADABLE if self.medium == "video" else Kind.SOUND_UNREADABLE
        return self._judge(kind, True, at_ns, count)

    def clock(self, offset_ms: int, at_ns: int) -> list[Observation]:
        """A sender report came whose UTC, when it arrived, was so far ahead of ours."""
        limit = CLOCK_OFF_MS - (CLOCK_SLACK_MS if self.open(Kind.CLOCK_OFF) else 0)
        return self._judge(Kind.CLOCK_OFF, abs(offset_ms) > limit, at_ns, offset_ms)

    def open(self, kind: Kind) -> bool:
        condition = self._conditions.get(kind)
        return condition is not None and condition.open

    @property
    def _lost(self) -> Kind:
        return Kind.CAMERA_LOST if self.medium == "video" else Kind.AUDIO_LOST

    def _silence_ms(self, now_ns: int) -> int:
        return max(0, now_ns - self.heard_ns) // 1_000_000

    def _judge(
        self, kind: Kind, wrong: bool, at_ns: int, measure: int, since_ns: int | None = None
    ) -> list[Observation]:
        """`since_ns`: since when it was wrong, where the measure itself knows."""
        rule = RULES[kind]
        condition = self._conditions.setdefault(kind, _Condition())
        if wrong:
            condition.right_since_ns = None
            if condition.wrong_since_ns is None:
                condition.wrong_since_ns = at_ns if since_ns is None else since_ns
            if not condition.open and at_ns - condition.wrong_since_ns >= rule.hold_ns:
                condition.open = True
                since_ns = condition.wrong_since_ns
                return [Observation("began", self.camera, self.medium, kind, since_ns, at_ns, measure)]
            return []
        began = condition.wrong_since_ns
        if not condition.open or began is None:
            condition.wrong_since_ns = None
            return []
        if condition.right_since_ns is None:
            condition.right_since_ns = at_ns
        if at_ns - condition.right_since_ns < rule.clear_ns:
            return []
        ceased = condition.right_since_ns
        self._conditions[kind] = _Condition()
        return [Observation("ended", self.camera, self.medium, kind, began, ceased, measure)]
