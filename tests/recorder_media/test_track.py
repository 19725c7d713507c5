from __future__ import annotations

from itertools import pairwise

import pytest

from evidence_store.errors import Conflict
from recorder import timeline as timeline_module
from recorder.box_reader import parse_fragment
from recorder.clock import SECOND_NS, Placed, SenderClock
from recorder.fragments import Codec, Cut, Event
from recorder.track import Track

from .payloads import IDR, PPS, PPS_HD, SLICE, SPS, SPS_HD, Packet, fragments, stap

MS = SECOND_NS // 1000
T0 = 100 * SECOND_NS
UNIX_NS = 1_795_312_801 * SECOND_NS
OPUS = b"\xf8\xff\xfe"


class Sender:
    """Sends pictures of 30 a second, or sounds of 50, into a track, one packet each unless told otherwise."""

    def __init__(self, track: Track, *, now_ns: int = T0, rtp: int = 2**32 - 9000, sequence: int = 65_530) -> None:
        self.track = track
        self.now_ns = now_ns
        self.sequence = sequence
        self.rtp = rtp
        self.step = 3000 if track.codec is Codec.H264 else 960

    def packet(self, payload: bytes, *, marker: bool = True, lose: bool = False) -> None:
        if not lose:
            packet = Packet(self.sequence & 0xFFFF, self.rtp & 0xFFFFFFFF, marker, payload)
            self.track.rtp(packet, payload, self.now_ns)
        self.sequence += 1

    def tick(self, count: int = 1) -> None:
        self.rtp += count * self.step
        self.now_ns += count * self.step * SECOND_NS // self.track.codec.timescale

    def key(self, sps: bytes = SPS, pps: bytes = PPS) -> None:
        self.packet(stap(sps, pps), marker=False)
        self.packet(IDR)
        self.tick()

    def send(self, count: int = 1, *, lose: bool = False) -> None:
        for _ in range(count):
            self.packet(SLICE if self.track.codec is Codec.H264 else OPUS, lose=lose)
            self.tick()


def _picture(**options: int) -> tuple[Track, Sender]:
    track = Track("wide-video", Codec.H264, **options)
    track.connect("one", T0, SenderClock())
    return track, Sender(track)


def _begun() -> tuple[Track, Sender]:
    track, sender = _picture()
    track.begin(T0, T0)
    sender.key()
    return track, sender


def _of(cut: Cut, kind: str) -> list[Event]:
    return [event for event in cut.events if event["type"] == kind]


def _gaps(cut: Cut) -> list[tuple[object, ...]]:
    return [(gap["reason"], gap["from"], gap["to"], gap["packets"], gap["units"]) for gap in _of(cut, "gap")]


def _times(cut: Cut) -> list[int]:
    times = []
    for each in cut.fragments:
        parsed = parse_fragment(each.data)
        decode = parsed.base_time
        for sample in parsed.samples:
            times.append(decode + sample.offset)
            decode += sample.duration
    return times


def _cut(sender: Sender) -> Cut:
    return sender.track.cut(sender.now_ns)


def test_nothing_is_cut_while_no_take_runs() -> None:
    track, sender = _picture()
    sender.key()
    sender.send(5)
    assert track.cut(sender.now_ns) == Cut()
    with pytest.raises(Conflict):
        track.end(sender.now_ns)


def test_a_take_cannot_begin_twice_or_over_what_was_not_cut() -> None:
    track, sender = _begun()
    with pytest.raises(Conflict):
        track.begin(T0, T0)
    track.end(sender.now_ns)
    with pytest.raises(Conflict):
        track.begin(T0 + 1, T0 + 1)
    assert sum(each.samples for each in _cut(sender).fragments) == 1
    track.begin(T0 + 1, T0 + 1)


def test_loss_is_declared_and_the_cut_picture_is_marked() -> None:
    track, sender = _begun()
    sender.send(2)
    first, second, third = fragments(SLICE, 80)
    sender.packet(first, marker=False)
    sender.packet(second, marker=False, lose=True)
    sender.packet(third)
    sender.tick()
    assert track.missing() == [(65_530 + 5) & 0xFFFF]
    assert not track.wants_key_frame
    sender.send(8)
    assert track.wants_key_frame
    cut = _cut(sender)
    assert _gaps(cut) == [("loss", 9000, 12_000, 1, 1)]
    assert [each.incomplete for each in cut.fragments] == [1]
    assert _times(cut) == [index * 3000 for index in range(12)]
    sender.key()
    assert not track.wants_key_frame
    assert track.counters.lost == 1
    assert track.counters.incomplete == 1


def test_lost_whole_pictures_leave_a_hole_in_time_that_is_declared() -> None:
    _, sender = _begun()
    sender.send(2)
    sender.send(5, lose=True)
    sender.send(10)
    cut = _cut(sender)
    assert _times(cut) == [0, 3000, 6000, *(index * 3000 for index in range(8, 18))]
    # The first picture after the hole may lack its beginning: nobody can tell, so it is not called whole.
    assert _gaps(cut) == [("loss", 9000, 27_000, 5, 1)]


def test_what_comes_again_in_time_is_no_loss() -> None:
    track, sender = _begun()
    sender.send(2)
    kept = Packet(sender.sequence & 0xFFFF, sender.rtp & 0xFFFFFFFF, True, SLICE)
    sender.send(1, lose=True)
    sender.send(2)
    track.rtp(kept, kept.payload, sender.now_ns)
    cut = _cut(sender)
    assert _times(cut) == [index * 3000 for index in range(6)]
    assert _gaps(cut) == []
    assert track.counters.recovered == 1


def test_a_hole_is_waited_for_no_longer_than_patience() -> None:
    track, sender = _begun()
    sender.send(1, lose=True)
    sender.send(1)
    last_ns = sender.now_ns - 33_333_333
    assert sum(each.samples for each in track.cut(last_ns + 199 * MS).fragments) == 1
    assert sum(each.samples for each in track.cut(last_ns + 200 * MS).fragments) == 1


def test_a_malformed_packet_is_declared_at_the_picture_it_was_in() -> None:
    track, sender = _begun()
    sender.send(2)
    sender.packet(b"\x7c", marker=False)
    sender.send(2)
    assert _gaps(_cut(sender)) == [("malformed", 9000, 12_000, 1, 1)]
    assert track.counters.malformed == 1


def test_what_is_under_construction_at_the_end_is_kept_and_marked() -> None:
    track, sender = _begun()
    first, _, _ = fragments(SLICE, 80)
    sender.packet(first, marker=False)
    sender.packet(first, marker=False, lose=True)
    track.end(sender.now_ns + MS)
    cut = _cut(sender)
    assert (cut.fragments[0].samples, cut.fragments[0].incomplete) == (2, 1)
    assert _gaps(cut) == [("incomplete", 3000, 6000, 0, 1)]


def test_packets_lost_at_the_very_end_are_declared() -> None:
    track = Track("wide-audio", Codec.OPUS)
    track.connect("one", T0, SenderClock())
    track.begin(T0, T0)
    sender = Sender(track)
    sender.send(2)
    sender.send(3, lose=True)
    sender.packet(b"\xfb\x00")
    track.end(sender.now_ns)
    assert _gaps(_cut(sender)) == [("loss", 1920, 4800, 4, 0)]


def test_a_reconnect_is_a_gap_and_a_new_mapping_on_the_same_timeline() -> None:
    track, sender = _begun()
    sender.send(29)
    _cut(sender)
    track.disconnect(sender.now_ns)
    track.disconnect(sender.now_ns)
    away_ns = sender.now_ns + 3 * SECOND_NS
    track.rtp(Packet(0, 0, True, SLICE), SLICE, away_ns)
    assert track.counters.unconnected == 1
    track.connect("two", away_ns, SenderClock())
    again = Sender(track, now_ns=away_ns, rtp=77, sequence=5)
    again.send(3)
    again.key()
    again.send(3)
    cut = _cut(again)
    (mapping,) = _of(cut, "mapping")
    assert (mapping["number"], mapping["connection"], mapping["rtp"]) == (1, "two", 9077)
    assert _times(cut) == [index * 3000 for index in range(123, 127)]
    assert _gaps(cut) == [("reconnect", 90_000, 123 * 3000, 0, 3)]
    assert [each.init for each in cut.fragments] == [None], "the same parameter sets need no new epoch"
    assert cut.fragments[0].connection == "two"


def test_a_reconnect_never_lands_before_what_is_written() -> None:
    track, sender = _begun()
    sender.send(29)
    track.connect("two", sender.now_ns, SenderClock())
    # The new connection's clock would place it two seconds back.
    again = Sender(track, now_ns=sender.now_ns - 2 * SECOND_NS, rtp=5)
    again.key()
    again.send(2)
    times = _times(_cut(again))
    assert all(before < after for before, after in pairwise(times))


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(2**31, id="half_the_range"),
        pytest.param(2**32 - 90_000 * 60, id="a_minute_back"),
        pytest.param(90_000 * 3600, id="an_hour_ahead"),
    ],
)
def test_a_jump_of_the_senders_clock_never_inflates_the_take(jump: int) -> None:
    track, sender = _begun()
    sender.send(29)
    sender.rtp += jump
    sender.send(30)
    track.end(sender.now_ns)
    cut = _cut(sender)
    assert _times(cut) == pytest.approx([index * 3000 for index in range(60)], abs=2)
    assert [gap[0] for gap in _gaps(cut)] == ["discontinuity"]
    assert [mapping["number"] for mapping in _of(cut, "mapping")] == [0, 1]
    assert sum(each.duration for each in cut.fragments) == pytest.approx(60 * 3000, abs=4)


def test_the_wrap_of_rtp_time_is_no_event() -> None:
    _, sender = _begun()
    sender.send(100)
    cut = _cut(sender)
    assert _times(cut) == [index * 3000 for index in range(101)]
    assert [event["type"] for event in cut.events] == ["mapping", "epoch"]
    assert cut.fragments[0].first_rtp == 2**32 - 9000
    assert cut.fragments[0].last_rtp == 100 * 3000 - 9000


def test_silence_is_a_gap_even_when_nothing_was_lost() -> None:
    _, sender = _begun()
    sender.tick(30)
    sender.send()
    assert _gaps(_cut(sender)) == [("no-media", 3000, 93_000, 0, 0)]


def test_silence_until_the_end_is_a_gap() -> None:
    track, sender = _begun()
    track.end(T0 + 10 * SECOND_NS)
    assert _gaps(_cut(sender)) == [("no-media", 3000, 900_000, 0, 0)]


def test_a_track_that_never_came_is_a_gap() -> None:
    track = Track("close-video", Codec.H264)
    track.begin(T0, T0)
    track.end(T0 + SECOND_NS)
    assert _gaps(track.cut(T0 + SECOND_NS)) == [("no-connection", 0, 90_000, 0, 0)]


def test_waits_for_a_key_frame_and_says_so() -> None:
    track, sender = _picture()
    assert track.wants_key_frame
    track.begin(T0, T0)
    sender.send(6)
    sender.packet(IDR)
    sender.tick()
    assert track.wants_key_frame, "a key frame without parameter sets can't be shown"
    sender.key()
    assert not track.wants_key_frame
    sender.send(1)
    cut = _cut(sender)
    assert _gaps(cut) == [("no-key-frame", 0, 21_000, 0, 7)]
    assert cut.fragments[0].key_frames == (21_000,)


def test_parameter_sets_from_the_offer_will_do() -> None:
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock(), [SPS, PPS])
    track.begin(T0, T0)
    sender = Sender(track)
    sender.packet(IDR)
    cut = _cut(sender)
    assert cut.fragments[0].codec == "avc1.42c01e"
    assert _gaps(cut) == []


def test_new_parameter_sets_begin_an_epoch_within_one_cut() -> None:
    _, sender = _begun()
    sender.send(2)
    sender.key(SPS_HD, PPS_HD)
    sender.send(2)
    sender.key(SPS_HD, PPS_HD)
    sender.key()
    cut = _cut(sender)
    assert [(each.epoch, each.samples, each.init is not None, each.codec) for each in cut.fragments] == [
        (0, 3, True, "avc1.42c01e"),
        (1, 4, True, "avc1.641028"),
        (2, 1, True, "avc1.42c01e"),
    ]
    assert [each.sequence for each in cut.fragments] == [1, 2, 3]


def test_asks_for_a_key_frame_when_the_last_one_is_old() -> None:
    track, sender = _picture()
    sender.key()
    sender.send(60)
    assert not track.wants_key_frame
    sender.send(1)
    assert track.wants_key_frame
    sender.key()
    assert not track.wants_key_frame


def test_memory_before_a_take_is_bounded() -> None:
    track, sender = _picture(preroll_ns=SECOND_NS)
    sender.key()
    sender.send(29)
    assert track.pre_roll_ns(sender.now_ns) == pytest.approx(T0, abs=100)
    sender.send(2)
    assert track.pre_roll_ns(sender.now_ns) == sender.now_ns - SECOND_NS // 2, "too old: a new key frame is waited for"
    small, sender = _picture(preroll_bytes=1000)
    sender.key()
    sender.send(20)
    assert small.pre_roll_ns(sender.now_ns) != T0
    sound = Track("wide-audio", Codec.OPUS, preroll_ns=SECOND_NS)
    sound.connect("one", T0, SenderClock())
    sender = Sender(sound)
    sender.send(500)
    assert len(sound._kept) == pytest.approx(51, abs=1)


def test_what_is_stale_does_not_begin_a_take() -> None:
    track, sender = _picture()
    sender.key()
    later_ns = T0 + 60 * SECOND_NS
    origin_ns = track.pre_roll_ns(later_ns)
    assert origin_ns == later_ns - SECOND_NS // 2
    track.begin(origin_ns, later_ns)
    assert track.cut(later_ns).fragments == ()


def test_sound_goes_back_as_far_as_the_picture() -> None:
    picture, pictures = _picture()
    sound = Track("wide-audio", Codec.OPUS)
    sound.connect("one", T0, SenderClock())
    sounds = Sender(sound, now_ns=T0 - 5 * SECOND_NS)
    sounds.send(250)
    pictures.key()
    pictures.send(53)
    sounds.send(90)
    now_ns = T0 + 1800 * MS
    assert sound.pre_roll_ns(now_ns) == pytest.approx(now_ns - SECOND_NS // 2, abs=20 * MS)
    for track in (picture, sound):
        track.begin(T0, now_ns)
    assert _times(picture.cut(now_ns))[0] == 0
    assert _times(sound.cut(now_ns)) == [index * 960 for index in range(90)]


def test_a_key_frame_on_its_way_when_a_take_begins_is_not_lost() -> None:
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock())
    sender = Sender(track, now_ns=T0 + MS)
    # By the sender's word it was taken 300 ms before it came, and the take began 1 ms before it came.
    track.sender_report((((UNIX_NS // SECOND_NS) + 2_208_988_800) & 0xFFFFFFFF) << 32, sender.rtp + 27_000, T0)
    track.begin(T0, T0)
    sender.key()
    sender.send(3)
    assert _times(_cut(sender)) == [0, 3000, 6000, 9000]


def test_both_tracks_of_a_sender_are_placed_by_its_reports() -> None:
    clock = SenderClock()
    ntp = (((UNIX_NS // SECOND_NS) + 2_208_988_800) & 0xFFFFFFFF) << 32
    tracks = [Track("wide-video", Codec.H264), Track("wide-audio", Codec.OPUS)]
    delays = (180 * MS, 20 * MS)
    cuts = []
    for track, delay_ns in zip(tracks, delays, strict=True):
        track.connect("one", T0, clock)
        track.sender_report(ntp, 1000, T0)
        sender = Sender(track, now_ns=T0 + delay_ns, rtp=1000)
        sender.key() if track.codec is Codec.H264 else sender.send()
        sender.send(20)
    for track in tracks:
        track.begin(T0, T0 + SECOND_NS)
    for track in tracks:
        cuts.append(track.cut(T0 + SECOND_NS))
    for cut in cuts:
        (mapping,) = _of(cut, "mapping")
        assert (mapping["by"], mapping["media_time"]) == (Placed.SENDER_REPORT.value, 0)
        assert mapping["sender_utc_ns"] == str(UNIX_NS)
        assert cut.fragments[0].sender_utc_ns == UNIX_NS
        assert cut.fragments[0].first_ns == T0


def test_drift_is_told_and_never_corrected() -> None:
    track, sender = _picture()
    track.begin(T0, T0)
    ntp = ((UNIX_NS // SECOND_NS) + 2_208_988_800) & 0xFFFFFFFF
    sender.key()
    drift: list[int] = []
    times: list[int] = []
    for second in range(1, 601):
        # 200 ppm: the sender's second takes 1.0002 of ours.
        sender.now_ns = T0 + second * (SECOND_NS + SECOND_NS // 5000)
        sender.rtp = 2**32 - 9000 + second * 90_000
        track.sender_report(ntp + second << 32, sender.rtp & 0xFFFFFFFF, sender.now_ns)
        sender.packet(SLICE)
        cut = _cut(sender)
        times += _times(cut)
        for event in _of(cut, "clock"):
            assert isinstance(event["drift_ns"], int)
            assert isinstance(event["deviation_ns"], int)
            assert abs(event["deviation_ns"]) <= 600 * SECOND_NS // 5000
            drift.append(event["drift_ns"])
    assert times == [second * 90_000 for second in range(601)]
    # Measured as the least of a minute, so it lags by at most one.
    assert drift[-1] == pytest.approx(600 * SECOND_NS // 5000, abs=61 * SECOND_NS // 5000)
    assert len(drift) == 600


def test_goes_on_after_a_pause_on_the_same_timeline() -> None:
    track, sender = _begun()
    sender.send(29)
    track.end(sender.now_ns)
    written = _times(_cut(sender))
    sender.send(20)
    sender.key()
    sender.send(5)
    track.begin(T0, sender.now_ns)
    sender.send(2)
    cut = _cut(sender)
    assert written == [index * 3000 for index in range(30)]
    assert _times(cut) == [index * 3000 for index in range(50, 58)]
    assert _gaps(cut) == [("pause", 90_000, 150_000, 0, 0)]
    assert (cut.fragments[0].init, cut.fragments[0].sequence, cut.fragments[0].pre_roll) == (None, 2, 6)


def test_a_new_take_begins_anew_with_the_key_frame_in_memory() -> None:
    track, sender = _begun()
    sender.send(9)
    track.end(sender.now_ns)
    _cut(sender)
    track.begin(T0 - SECOND_NS, sender.now_ns)
    cut = _cut(sender)
    assert _times(cut) == [90_000 + index * 3000 for index in range(10)]
    assert cut.fragments[0].sequence == 1
    assert cut.fragments[0].init is not None
    assert [gap[0] for gap in _gaps(cut)] == ["no-media"]


def test_media_that_is_never_cut_stays_bounded_and_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_module, "_MAX_UNITS", 10)
    _, sender = _begun()
    sender.send(30)
    assert sum(each.samples for each in _cut(sender).fragments) == 10
    sender.send(2)
    sender.key()
    assert _gaps(_cut(sender)) == [("overflow", 30_000, 33 * 3000, 0, 23)]


def test_loss_before_the_take_is_not_of_the_take() -> None:
    track, sender = _picture()
    sender.send(3)
    sender.send(1, lose=True)
    sender.now_ns += 300 * MS
    sender.key()
    sender.send(2)
    track.begin(T0, sender.now_ns)
    assert "loss" not in [gap[0] for gap in _gaps(_cut(sender))]


def test_b_frames_keep_their_times() -> None:
    _, sender = _begun()
    base, now_ns = sender.rtp, sender.now_ns
    for picture in (2, 0, 1, 5, 3, 4):
        sender.rtp, sender.now_ns = base + picture * 3000, now_ns + 2 * sender.step
        sender.packet(SLICE)
        now_ns += 33 * MS
    cut = _cut(sender)
    assert _times(cut) == [0, 9000, 3000, 6000, 18_000, 12_000, 15_000]
    assert (cut.fragments[0].first, cut.fragments[0].last) == (0, 18_000)
    assert _gaps(cut) == []
