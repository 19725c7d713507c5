"""What the pieces of the recording way hand on to one another, from an access unit heard to a cut to be sealed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .boxes import AUDIO_TIMESCALE, VIDEO_TIMESCALE
from .depacketise import AccessUnit

Event = dict[str, str | int | bool | None]
ParameterSetPair = tuple[tuple[bytes, ...], tuple[bytes, ...]]


class Codec(StrEnum):
    """What a track is sent in."""

    H264 = "h264"
    OPUS = "opus"

    @property
    def timescale(self) -> int:
        """RTP clock rate and media timescale, in ticks a second."""
        return VIDEO_TIMESCALE if self is Codec.H264 else AUDIO_TIMESCALE


class Gap(StrEnum):
    """Why a stretch is missing or damaged, from the weakest word to the strongest: a stretch keeps the strongest."""

    INCOMPLETE = "incomplete"
    MALFORMED = "malformed"
    LOSS = "loss"
    NO_MEDIA = "no-media"
    NO_KEY_FRAME = "no-key-frame"
    PAUSE = "pause"
    DISCONTINUITY = "discontinuity"
    OVERFLOW = "overflow"
    NO_CONNECTION = "no-connection"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True)
class Heard:
    """An access unit as the track heard it. `index` counts units of the track, `stream` stretches of one RTP time.

    `rtp` is extended; `sets` are (SPS, PPS) in force, on key frames that a decoder can start at, else None; `lost` and
    `malformed` count packets since the unit before.
    """

    index: int
    stream: int
    rtp: int
    unit: AccessUnit
    sets: ParameterSetPair | None = None
    lost: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of one track as it is sealed. `init` is there when `epoch` is new; it comes before `data` in a file.
    `codec` is the browser's name of the epoch's codec (RFC 6381).

    `base` is the decoding time of the first sample, `first` and `last` the least and the greatest presentation time,
    `duration` the sum of the samples', the last one's estimated. `first_ns` is `first` on the local monotonic clock;
    `sender_utc_ns` the same by the sender's word (ns since 1970) or None; `uncertainty_ns` belongs to both.
    `pre_roll` samples at its beginning came before the start was pressed.
    """

    track: str
    epoch: int
    codec: str
    init: bytes | None
    data: bytes
    timescale: int
    sequence: int
    base: int
    first: int
    last: int
    duration: int
    samples: int
    key_frames: tuple[int, ...]
    incomplete: int
    pre_roll: int
    mapping: int
    connection: str
    first_rtp: int
    last_rtp: int
    first_ns: int
    sender_utc_ns: int | None
    uncertainty_ns: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What was completed since the cut before, and what happened (the events: see `timeline.Timeline`)."""

    fragments: tuple[Fragment, ...] = ()
    events: tuple[Event, ...] = ()
