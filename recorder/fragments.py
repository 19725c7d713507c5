"""What the pieces of the recording way hand on to one another, from an access unit heard to a cut to be sealed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from .boxes import AUDIO_TIMESCALE, VIDEO_TIMESCALE
from .decoder_setup import Setup
from .depacketise import AccessUnit

Event = dict[str, str | int | bool | None]


class Codec(StrEnum):
    """What a track is sent in: the name of its RTP payload format (RFC 6184, 7798, 7741, 9628, 7587), in lower case."""

    H264 = "h264"
    VP9 = "vp9"
    AV1 = "av1"
    VP8 = "vp8"
    H265 = "h265"
    OPUS = "opus"

    video: bool
    """Whether it is a picture's."""
    timescale: int
    """RTP clock rate and media timescale, in ticks a second."""

    def __init__(self, name: str) -> None:
        # Attributes, since they are asked for with every packet: a property of an enumeration costs ten times as much.
        self.video = name != "opus"
        self.timescale = VIDEO_TIMESCALE if self.video else AUDIO_TIMESCALE


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


class Heard(NamedTuple):
    """An access unit as the track heard it. `number` counts units of the track, `stream` stretches of one RTP time.

    `rtp` is extended; `setup` is what a decoder that starts at it is told: on whole key frames and on every sound, else
    None; `lost` and `malformed` count packets since the unit before.
    """

    number: int
    stream: int
    rtp: int
    unit: AccessUnit
    setup: Setup | None = None
    lost: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of one track as it is sealed. `init` is there when `epoch` is new; it comes before `data` in a file.
    `codec` is the browser's name of the epoch's codec (RFC 6381).

    `base` is the decoding time of the first sample, `first` and `last` the least and the greatest presentation time,
    `duration` the sum of the samples', `end` where the last that is shown ends, both estimated. `first_ns` is `first`
    on the local monotonic clock; `sender_utc_ns` the same by the sender's word (ns since 1970) or None;
    `uncertainty_ns` belongs to both. `pre_roll` samples at its beginning came before the start was pressed.
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
    end: int
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
