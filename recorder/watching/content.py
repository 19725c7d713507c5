"""The whole watch: from the recorder's feed to observations told. Takes times as arguments; owns no task and no socket.

A camera's track is judged on through reconnections; what is decoded and measured begins anew with each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from recorder.clock import ntp_to_unix_ns
from recorder.feed import FeedTrack
from recorder.sdp import Kind as Medium
from recorder.watching.decode import PICTURE_DECODERS, SOUND_DECODERS, PictureDecoder, SoundDecoder, Unit
from recorder.watching.judge import Judge, Observation
from recorder.watching.kinds import SECOND_NS
from recorder.watching.measures import Pictures, Rates, Sounds, Unwrapped

_LONGEST_PAUSE_NS = SECOND_NS // 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Expected:
    """A camera that the room has, which media it sends, and at how many pictures a second (None: not known)."""

    camera: str
    media: tuple[Medium, ...]
    frame_rate: int | None = None


class _PictureTrack:
    """One connection's picture. A format that no decoder is known for is still counted."""

    def __init__(self, track: FeedTrack, judge: Judge) -> None:
        codec = track.codec
        self._judge = judge
        self._pictures, self._rates, self._unwrap = Pictures(), Rates(codec.clock_rate), Unwrapped()
        self._number: int | None = None
        self._failed = 0
        known = codec.name in PICTURE_DECODERS
        self._decoder = PictureDecoder(codec.name, codec.clock_rate) if known else None

    def take(self, unit: Unit, at_ns: int) -> list[Observation]:
        found = self._judge.heard(at_ns)
        if self._number is not None and unit.number != self._number + 1:
            self._rates.restart()
        self._number = unit.number
        rate = self._rates.measure(self._unwrap(unit.rtp))
        if rate is not None:
            found += self._judge.rate(rate, at_ns)
        if self._decoder is None:
            return found
        grid = self._decoder.grid(unit)
        if grid is not None:
            found += self._judge.picture(self._pictures.measure(grid, at_ns), at_ns)
        if self._decoder.failed > self._failed:
            found += self._judge.unreadable(at_ns, self._decoder.failed)
        self._failed = self._decoder.failed
        return found


class _SoundTrack:
    """One connection's sound."""

    def __init__(self, track: FeedTrack, judge: Judge) -> None:
        self._judge, self._sounds, self._unwrap = judge, Sounds(), Unwrapped()
        self._clock_rate, self._before_rtp = track.codec.clock_rate, 0
        known = track.codec.name in SOUND_DECODERS
        self._decoder = SoundDecoder(track.codec.name) if known else None

    def take(self, unit: Unit, at_ns: int) -> list[Observation]:
        found = self._judge.heard(at_ns)
        rtp = self._unwrap(unit.rtp)
        # With DTX (RFC 7587, 3.1.3) one packet stands for all of a silence since the one before.
        since_ns = min((rtp - self._before_rtp) * SECOND_NS // self._clock_rate, _LONGEST_PAUSE_NS)
        self._before_rtp = rtp
        if self._decoder is None:
            return found
        decoded = self._decoder.samples(unit.data)
        if decoded is None:
            return found + self._judge.unreadable(at_ns, self._decoder.failed)
        samples, length_ns = decoded
        sound = self._sounds.measure(samples, max(length_ns, since_ns))
        return found if sound is None else found + self._judge.sound(sound, at_ns)


class ContentWatch:
    """What the feed calls, and `tick`. `tell(observation)` hears of each that begins or ends."""

    def __init__(self, room: Iterable[Expected], tell: Callable[[Observation], None]) -> None:
        self._room, self._tell = tuple(room), tell
        self._judges: dict[tuple[str, Medium], Judge] = {}
        self._live: dict[int, tuple[FeedTrack, _PictureTrack | _SoundTrack]] = {}
        self._fed = False
        self._ahead_ns: int | None = None

    def tick(self, now_ns: int, utc_ns: int, *, behind: bool = False) -> None:
        """Now, by both clocks: several times a second, before what came since the last one is handed in. `behind`: what
        came lately has not been handed in yet, since others wanted the processor."""
        self._ahead_ns = utc_ns - now_ns
        if not self._fed:
            return
        for judge in self._judges.values():
            if behind:
                judge.behind(now_ns)
            else:
                self._say(judge.tick(now_ns))

    def tracks(self, tracks: Mapping[int, FeedTrack], now_ns: int, *, connected: bool = True) -> None:
        """All that is live now. Not connected: the recorder is out of reach, and nothing can be said."""
        if not connected:
            self._live, self._judges, self._fed = {}, {}, False
            return
        if not self._fed:
            self._fed = True
            self._judges = {
                (each.camera, medium): Judge(each.camera, medium, now_ns, each.frame_rate)
                for each in self._room
                for medium in each.media
            }
        before, self._live = self._live, {}
        for index, track in tracks.items():
            judge = self._judges.get((track.camera, track.kind))
            if judge is None:
                continue  # a medium that the room's profile does not have is not recorded either
            if index in before:
                self._live[index] = before[index]
            else:
                kind = _PictureTrack if track.kind == "video" else _SoundTrack
                self._live[index] = track, kind(track, judge)
        live = {(track.camera, track.kind) for track, _ in self._live.values()}
        for index, (track, _) in before.items():
            if index not in self._live and (track.camera, track.kind) not in live:
                judge = self._judges[track.camera, track.kind]
                self._say(judge.lapse(judge.heard_ns))

    def unit(self, index: int, unit: Unit, arrival_ns: int) -> None:
        """One access unit, and when its first packet came."""
        live = self._live.get(index)
        if live is not None:
            self._say(live[1].take(unit, arrival_ns))

    def report(self, index: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        """One sender report. NTP zero is a sender's word for having no clock (RFC 3550, 6.4.1)."""
        live = self._live.get(index)
        if live is None or not ntp or self._ahead_ns is None:
            return
        track = live[0]
        if track.kind == "audio" and (track.camera, "video") in self._judges:
            return  # a camera has one clock; its picture's reports tell it
        offset_ns = ntp_to_unix_ns(ntp) - (arrival_ns + self._ahead_ns)
        self._say(self._judges[track.camera, track.kind].clock(offset_ns // 1_000_000, arrival_ns))

    def _say(self, found: Iterable[Observation]) -> None:
        for each in found:
            log.info("observation", act=each.act, camera=each.camera, kind=each.kind.value, measure=each.measure)
            self._tell(each)
