"""Stored media, for who may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from api.services.people import Account


@dataclass(frozen=True, slots=True)
class MediaInit:
    epoch: int
    codec: str


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """Times in the track's timescale, from the take's origin. `key_frames`: when those that are shown are."""

    number: int
    epoch: int
    start: int
    duration: int
    key_frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaTrack:
    """`kind` is `video` or `audio`; `inits` name the codec string (RFC 6381) of each init epoch.

    `unshown`: from and to, in the timescale, where pictures lack packets, or rest on some that do, and the one before
    stands instead.
    """

    id: str
    camera: str
    kind: str
    timescale: int
    inits: tuple[MediaInit, ...]
    segments: tuple[MediaSegment, ...]
    unshown: tuple[tuple[int, int], ...] = ()


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

    def segment(self, interview: str, ordinal: int, track: str, number: int) -> bytes | memoryview:
        """The checked media (moof + mdat …) of one segment, but for what is `unshown`, which may be all of it.

        Raises NotFound, Tampered: then not a byte is returned.
        """
        ...
