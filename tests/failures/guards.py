"""Which piece of the recorder holds against which failure: taken out, one at a time, the failure has to come back."""

from __future__ import annotations

from typing import Any

from evidence_store.errors import InvalidInput
from recorder import clock, spool, whip
from recorder import delivery as delivering
from recorder.aiortc_hooks import MediaTransport
from recorder.clock import SenderClock, StreamClock
from recorder.drift import Drift
from recorder.picture_order import DecodingTimes
from recorder.reorder import Reorder
from recorder.sealing_thread import SealingThread
from recorder.spool import SegmentFile
from recorder.timeline import Timeline
from recorder.track import Track
from tests.failures import disk, hours, media, network
from tests.failures.mode import Guard, Mode


def _nothing(*_: Any, **__: Any) -> None:
    """Done by nobody."""


def _no(*_: Any, **__: Any) -> bool:
    return False


def _as_it_comes(_self: object, _sequence: int, _expected: int, _ahead: int, packet: object, _now: int) -> list[object]:
    return [packet]


MODES: dict[int, Mode] = {
    1: hours.M01, 2: media.M02, 3: hours.M03, 4: hours.M04, 5: hours.M05, 6: hours.M06, 7: media.M07, 8: media.M08,
    9: network.M09, 10: network.M10, 11: disk.M11, 12: disk.M12, 13: disk.M13, 14: media.M14, 15: media.M15,
}  # fmt: skip

GUARDS: list[tuple[int, Guard]] = [
    (1, Guard(StreamClock, "unwrap", hours.any_step_back_is_a_turn)),
    (2, Guard(Track, "wants_key_frame", property(_no))),
    (3, Guard(clock, "_JUMP_NS", clock.SECOND_NS)),
    (3, Guard(clock, "_LATE_FOR_NS", 0)),
    # FFmpeg refuses what then goes back in time.
    (4, Guard(StreamClock, "jumped", _no, broken=(AssertionError,))),
    (5, Guard(Drift, "step_ns", lambda *_: 0)),
    (6, Guard(SenderClock, "estimate", _nothing)),
    (7, Guard(Timeline, "_enter_epoch", media.only_the_first)),
    (8, Guard(Track, "_keep", _nothing)),
    (8, Guard(Track, "_flush", _nothing)),
    (9, Guard(MediaTransport, "_consent", network.gone_after_300_ms)),
    (10, Guard(whip, "STALE_AFTER_NS", 3600 * clock.SECOND_NS)),
    (10, Guard(whip.WhipEndpoint, "_ended", network.whoever_ends_takes_the_camera_with_it)),
    (11, Guard(SealingThread, "_run_ticks", disk.without_a_second_try)),
    (12, Guard(delivering, "_answer", disk.whatever_it_answers)),
    (13, Guard(SegmentFile, "append", disk.left_to_the_kernel)),
    (13, Guard(spool, "fsync_folder", disk.no_folder)),
    (14, Guard(Timeline, "close", _nothing)),
    (15, Guard(Reorder, "_behind", _as_it_comes)),
    (15, Guard(DecodingTimes, "of", media.as_shown, broken=(InvalidInput,))),
]
