from __future__ import annotations

import pytest

from recorder import timeline as timeline_module
from recorder.clock import SECOND_NS, Placed, SenderClock
from recorder.fragments import Codec
from recorder.track import Track

from .payloads import SLICE
from .senders import MS, T0, UNIX_NS, Sender, begun, cut_now, gaps, of_type, picture_track, times


def test_asks_for_a_key_frame_when_the_last_one_is_old() -> None:
    track, sender = picture_track()
    sender.key()
    sender.send(60)
    assert not track.wants_key_frame
    sender.send(1)
    assert track.wants_key_frame
    sender.key()
    assert not track.wants_key_frame


def test_memory_before_a_take_is_bounded() -> None:
    track, sender = picture_track(preroll_ns=SECOND_NS)
    sender.key()
    sender.send(29)
    assert track.pre_roll_ns(sender.now_ns) == pytest.approx(T0, abs=100)
    sender.send(2)
    assert track.pre_roll_ns(sender.now_ns) == sender.now_ns - SECOND_NS // 2, "too old: a new key frame is waited for"
    small, sender = picture_track(preroll_bytes=1000)
    sender.key()
    sender.send(20)
    assert small.pre_roll_ns(sender.now_ns) != T0
    sound = Track("wide-audio", Codec.OPUS, preroll_ns=SECOND_NS)
    sound.connect("one", T0, SenderClock())
    sender = Sender(sound)
    sender.send(500)
    assert sound.cut(sender.now_ns).fragments == ()
    assert len(sound._kept) == pytest.approx(51, abs=1)


def test_what_is_stale_does_not_begin_a_take() -> None:
    track, sender = picture_track()
    sender.key()
    later_ns = T0 + 60 * SECOND_NS
    origin_ns = track.pre_roll_ns(later_ns)
    assert origin_ns == later_ns - SECOND_NS // 2
    track.begin(origin_ns, later_ns)
    assert track.cut(later_ns).fragments == ()


def test_sound_goes_back_as_far_as_the_picture() -> None:
    picture, pictures = picture_track()
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
    assert times(picture.cut(now_ns))[0] == 0
    assert times(sound.cut(now_ns)) == [index * 960 for index in range(90)]


def test_a_key_frame_on_its_way_when_a_take_begins_is_not_lost() -> None:
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock())
    sender = Sender(track, now_ns=T0 + MS)
    # By the sender's word it was taken 300 ms before it came, and the take began 1 ms before it came.
    track.sender_report((((UNIX_NS // SECOND_NS) + 2_208_988_800) & 0xFFFFFFFF) << 32, sender.rtp + 27_000, T0)
    track.begin(T0, T0)
    sender.key()
    sender.send(3)
    assert times(cut_now(sender)) == [0, 3000, 6000, 9000]


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
        (mapping,) = of_type(cut, "mapping")
        assert (mapping["by"], mapping["media_time"]) == (Placed.SENDER_REPORT.value, 0)
        assert mapping["sender_utc_ns"] == str(UNIX_NS)
        assert cut.fragments[0].sender_utc_ns == UNIX_NS
        assert cut.fragments[0].first_ns == T0


def test_drift_is_told_and_followed_in_declared_steps() -> None:
    track, sender = picture_track()
    track.begin(T0, T0)
    ntp = ((UNIX_NS // SECOND_NS) + 2_208_988_800) & 0xFFFFFFFF
    sender.key()
    shown: list[int] = []
    moved: list[int] = []
    for second in range(1, 601):
        # 200 ppm: the sender's second takes 1.0002 of ours.
        sender.now_ns = T0 + second * (SECOND_NS + SECOND_NS // 5000)
        sender.rtp = 2**32 - 9000 + second * 90_000
        track.sender_report(ntp + second << 32, sender.rtp & 0xFFFFFFFF, sender.now_ns)
        sender.packet(SLICE)
        cut = cut_now(sender)
        shown += times(cut)
        for event in of_type(cut, "clock"):
            assert isinstance(event["drift_ns"], int)
            assert isinstance(event["deviation_ns"], int)
            assert abs(event["deviation_ns"]) <= 25 * MS
        moved += [int(event["moved_ns"] or 0) for event in of_type(cut, "mapping")]
    assert len(shown) == 601
    elapsed = [second * (90_000 + 18) for second in range(601)]
    assert max(abs(lies - true) for lies, true in zip(shown, elapsed, strict=True)) <= 90 * 40
    # 120 ms in all, of which the last are still being measured; each is a step that is told.
    assert sum(moved) == pytest.approx(600 * SECOND_NS // 5000, abs=40 * MS)
    assert all(10 * MS <= each <= 25 * MS for each in moved[1:])


def test_goes_on_after_a_pause_on_the_same_timeline() -> None:
    track, sender = begun()
    sender.send(29)
    track.end(sender.now_ns)
    written = times(cut_now(sender))
    sender.send(20)
    sender.key()
    sender.send(5)
    track.begin(T0, sender.now_ns)
    sender.send(2)
    cut = cut_now(sender)
    assert written == [index * 3000 for index in range(30)]
    assert times(cut) == [index * 3000 for index in range(50, 58)]
    assert gaps(cut) == [("pause", 90_000, 150_000, 0, 0)]
    assert (cut.fragments[0].init, cut.fragments[0].sequence, cut.fragments[0].pre_roll) == (None, 2, 6)


def test_a_new_take_begins_anew_with_the_key_frame_in_memory() -> None:
    track, sender = begun()
    sender.send(9)
    track.end(sender.now_ns)
    cut_now(sender)
    track.begin(T0 - SECOND_NS, sender.now_ns)
    cut = cut_now(sender)
    assert times(cut) == [90_000 + index * 3000 for index in range(10)]
    assert cut.fragments[0].sequence == 1
    assert cut.fragments[0].init is not None
    assert gaps(cut) == [], "before the start was pressed nothing was promised"


def test_media_that_is_never_cut_stays_bounded_and_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_module, "_MAX_UNITS", 10)
    _, sender = begun()
    sender.send(30)
    assert sum(each.samples for each in cut_now(sender).fragments) == 10
    sender.send(2)
    sender.key()
    assert gaps(cut_now(sender)) == [("overflow", 30_000, 33 * 3000, 0, 23)]


def test_loss_before_the_take_is_not_of_the_take() -> None:
    track, sender = picture_track()
    sender.send(3)
    sender.send(1, lose=True)
    sender.now_ns += 300 * MS
    sender.key()
    sender.send(2)
    track.begin(T0, sender.now_ns)
    assert "loss" not in [gap[0] for gap in gaps(cut_now(sender))]


def test_b_frames_keep_their_times() -> None:
    _, sender = begun()
    base, now_ns = sender.rtp, sender.now_ns
    for picture in (2, 0, 1, 5, 3, 4):
        sender.rtp, sender.now_ns = base + picture * 3000, now_ns + 2 * sender.step
        sender.packet(SLICE)
        now_ns += 33 * MS
    cut = cut_now(sender)
    assert times(cut) == [0, 9000, 3000, 6000, 18_000, 12_000, 15_000]
    assert (cut.fragments[0].first, cut.fragments[0].last) == (0, 18_000)
    assert gaps(cut) == []
