"""What can be wrong with a picture or a sound that arrives: one table, and the limits in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recorder.sdp import Kind as Medium

SECOND_NS: Final = 1_000_000_000


class Kind(StrEnum):
    """What is observed. The value is the alarm's code on screens and the event's `kind` in the journal."""

    CAMERA_LOST = "camera-lost"
    BLACK = "black"
    LOW_LIGHT = "low-light"
    FROZEN = "frozen"
    WRONG_FRAME_RATE = "wrong-frame-rate"
    PICTURE_UNREADABLE = "picture-unreadable"
    AUDIO_LOST = "audio-lost"
    SILENCE = "silence"
    QUIET = "quiet"
    CLIPPED = "clipped"
    SOUND_UNREADABLE = "sound-unreadable"
    CLOCK_OFF = "clock-off"


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a kind has to hold to begin, and to be away to end; both in nanoseconds of arrival.

    `medium`: of which track it is said; None: of either. `unit`: what the observation's one number is.
    `in_an_interview`: shown as an alarm only while a recording runs, because an empty room is as still and as quiet
    as that.
    """

    medium: Medium | None
    hold_ns: int
    clear_ns: int
    unit: str
    in_an_interview: bool = False


def _seconds(value: float) -> int:
    return int(value * SECOND_NS)


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.CAMERA_LOST: Rule("video", _seconds(3), 0, "ms since the last picture"),
    Kind.BLACK: Rule("video", _seconds(1.5), _seconds(0.5), "mean of the picture, 0 to 255"),
    Kind.LOW_LIGHT: Rule("video", _seconds(2.5), _seconds(1.5), "mean of the picture, 0 to 255"),
    Kind.FROZEN: Rule(
        "video", _seconds(2.9), 0, "greatest change, 0 to 255", in_an_interview=True
    ),
    Kind.WRONG_FRAME_RATE: Rule("video", _seconds(1), _seconds(2), "pictures in 100 s"),
    Kind.PICTURE_UNREADABLE: Rule("video", _seconds(1.5), 0, "key frames that gave no picture"),
    Kind.AUDIO_LOST: Rule("audio", _seconds(3), 0, "ms since the last sound"),
    Kind.SILENCE: Rule("audio", _seconds(2.5), 0, "greatest sample, 0 to 32768"),
    Kind.QUIET: Rule("audio", _seconds(30), 0, "loudest half second, tenths of dBFS", in_an_interview=True),
    Kind.CLIPPED: Rule("audio", 0, _seconds(2), "samples at full scale, of 1000"),
    Kind.SOUND_UNREADABLE: Rule("audio", _seconds(1.5), 0, "packets that gave no sound"),
    Kind.CLOCK_OFF: Rule(None, 0, 0, "camera's UTC less ours, ms"),
}  # fmt: skip

# Limits, each with how far it must be passed back before it no longer holds. Luma is 0 (black) to 255 (white).
BLACK_MEAN, BLACK_DEVIATION = 10, 8
DARK_MEAN, DARK_BRIGHTEST = 42, 96
LUMA_SLACK = 6
STILL_CHANGE = 4
"""A picture re-encoded from the same source, or noise alone, changes its cells by 2 to 4; a breath by 5 and more."""
LEAST_FRAME_RATE = 12
"""Pictures a second, where the room's profile names no rate."""
SLOW, FAST = 0.8, 1.25
LONGEST_PAUSE_NS = 700_000_000
SILENT_PEAK = 3
"""Of 32768, −80 dBFS: the quietest microphone's own noise lies above it. Less is a cable or a switch."""
QUIET_LEVEL = -650
"""Tenths of dBFS: a quiet room through a working microphone is at −60 dBFS and above."""
CLIPPED_SHARE, CLIPPED_SLACK = 5, 3
"""Of 1000 samples, over three seconds: a clap is not, a microphone that is turned up too far is."""
CLOCK_OFF_MS, CLOCK_SLACK_MS = 500, 100
