from __future__ import annotations

from itertools import pairwise

import pytest

from evidence_store.errors import Conflict
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Cut
from recorder.track import Track

from .payloads import IDR, PPS, PPS_HD, SLICE, SPS, SPS_HD, Packet, fragments, give
from .senders import MS, T0, Sender, begun, cut_now, gaps, of_type, picture_track, times


def test_nothing_is_cut_while_no_take_runs() -> None:
    track, sender = picture_track()
    sender.key()
    sender.send(5)
    assert track.cut(sender.now_ns) == Cut()
    with pytest.raises(Conflict):
        track.end(sender.now_ns)


def test_a_take_cannot_begin_twice_or_over_what_was_not_cut() -> None:
    track, sender = begun()
    with pytest.raises(Conflict):
        track.begin(T0, T0)
    track.end(sender.now_ns)
    with pytest.raises(Conflict):
        track.begin(T0 + 1, T0 + 1)
    assert sum(each.samples for each in cut_now(sender).fragments) == 1
    track.begin(T0 + 1, T0 + 1)


def test_loss_is_declared_and_the_cut_picture_is_marked() -> None:
    track, sender = begun()
    sender.send(2)
    first, second, third = fragments(SLICE, 80)
    sender.packet(first, marker=False)
    sender.packet(second, marker=False, lose=True)
    sender.packet(third)
    sender.tick()
    assert not track.wants_key_frame
    sender.send(8)
    assert track.wants_key_frame
    cut = cut_now(sender)
    assert gaps(cut) == [("loss", 9000, 12_000, 1, 1)]
    assert [each.incomplete for each in cut.fragments] == [1]
    assert times(cut) == [index * 3000 for index in range(12)]
    sender.key()
    assert not track.wants_key_frame
    assert track.counters.lost == 1
    assert track.counters.incomplete == 1


def test_lost_whole_pictures_leave_a_hole_in_time_that_is_declared() -> None:
    _, sender = begun()
    sender.send(2)
    sender.send(5, lose=True)
    sender.send(10)
    cut = cut_now(sender)
    assert times(cut) == [0, 3000, 6000, *(index * 3000 for index in range(8, 18))]
    # The first picture after the hole may lack its beginning: nobody can tell, so it is not called whole.
    assert gaps(cut) == [("loss", 9000, 27_000, 5, 1)]


def test_what_comes_again_in_time_is_no_loss() -> None:
    track, sender = begun()
    sender.send(2)
    kept = Packet(sender.sequence & 0xFFFF, sender.rtp & 0xFFFFFFFF, True, SLICE)
    sender.send(1, lose=True)
    sender.send(2)
    give(track, kept, kept.payload, sender.now_ns)
    cut = cut_now(sender)
    assert times(cut) == [index * 3000 for index in range(6)]
    assert gaps(cut) == []
    assert track.counters.recovered == 1


def test_a_hole_is_waited_for_no_longer_than_patience() -> None:
    track, sender = begun()
    sender.send(1, lose=True)
    sender.send(1)
    last_ns = sender.now_ns - 33_333_333
    assert sum(each.samples for each in track.cut(last_ns + 199 * MS).fragments) == 1
    assert sum(each.samples for each in track.cut(last_ns + 200 * MS).fragments) == 1


def test_a_malformed_packet_is_declared_at_the_picture_it_was_in() -> None:
    track, sender = begun()
    sender.send(2)
    sender.packet(b"\x7c", marker=False)
    sender.send(2)
    assert gaps(cut_now(sender)) == [("malformed", 9000, 12_000, 1, 1)]
    assert track.counters.malformed == 1


def test_what_is_under_construction_at_the_end_is_kept_and_marked() -> None:
    track, sender = begun()
    first, _, _ = fragments(SLICE, 80)
    sender.packet(first, marker=False)
    sender.packet(first, marker=False, lose=True)
    track.end(sender.now_ns + MS)
    cut = cut_now(sender)
    assert (cut.fragments[0].samples, cut.fragments[0].incomplete) == (2, 1)
    assert gaps(cut) == [("incomplete", 3000, 6000, 0, 1)]


def test_packets_lost_at_the_very_end_are_declared() -> None:
    track = Track("wide-audio", Codec.OPUS)
    track.connect("one", T0, SenderClock())
    track.begin(T0, T0)
    sender = Sender(track)
    sender.send(2)
    sender.send(3, lose=True)
    sender.packet(b"\xfb\x00")
    track.end(sender.now_ns)
    assert gaps(cut_now(sender)) == [("loss", 1920, 4800, 4, 0)]


def test_a_reconnect_is_a_gap_and_a_new_mapping_on_the_same_timeline() -> None:
    track, sender = begun()
    sender.send(29)
    cut_now(sender)
    track.disconnect()
    track.disconnect()
    away_ns = sender.now_ns + 3 * SECOND_NS
    give(track, Packet(0, 0, True, SLICE), SLICE, away_ns)
    assert track.counters.unconnected == 1
    track.connect("two", away_ns, SenderClock())
    again = Sender(track, now_ns=away_ns, rtp=77, sequence=5)
    again.send(3)
    again.key()
    again.send(3)
    cut = cut_now(again)
    (mapping,) = of_type(cut, "mapping")
    assert (mapping["number"], mapping["connection"], mapping["rtp"]) == (1, "two", 9077)
    assert times(cut) == [index * 3000 for index in range(123, 127)]
    assert gaps(cut) == [("reconnect", 90_000, 123 * 3000, 0, 3)]
    assert [each.init for each in cut.fragments] == [None], "the same parameter sets need no new epoch"
    assert cut.fragments[0].connection == "two"


def test_a_camera_that_does_not_come_back_is_no_reconnection() -> None:
    track, sender = begun()
    sender.send(29)
    cut_now(sender)
    track.disconnect()
    track.end(sender.now_ns + 2 * SECOND_NS)
    (gap,) = gaps(track.cut(sender.now_ns + 2 * SECOND_NS))
    assert gap[0] == "no-connection"
    assert gap[1] == 90_000


def test_a_reconnect_never_lands_before_what_is_written() -> None:
    track, sender = begun()
    sender.send(29)
    track.connect("two", sender.now_ns, SenderClock())
    # The new connection's clock would place it two seconds back.
    again = Sender(track, now_ns=sender.now_ns - 2 * SECOND_NS, rtp=5)
    again.key()
    again.send(2)
    shown = times(cut_now(again))
    assert all(before < after for before, after in pairwise(shown))


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(2**31, id="half_the_range"),
        pytest.param(2**32 - 90_000 * 60, id="a_minute_back"),
        pytest.param(90_000 * 3600, id="an_hour_ahead"),
    ],
)
def test_a_jump_of_the_senders_clock_never_inflates_the_take(jump: int) -> None:
    track, sender = begun()
    sender.send(29)
    sender.rtp += jump
    sender.send(30)
    track.end(sender.now_ns)
    cut = cut_now(sender)
    assert times(cut) == pytest.approx([index * 3000 for index in range(60)], abs=2)
    assert [gap[0] for gap in gaps(cut)] == ["discontinuity"]
    assert [mapping["number"] for mapping in of_type(cut, "mapping")] == [0, 1]
    assert sum(each.duration for each in cut.fragments) == pytest.approx(60 * 3000, abs=4)


def test_the_wrap_of_rtp_time_is_no_event() -> None:
    _, sender = begun()
    sender.send(100)
    cut = cut_now(sender)
    assert times(cut) == [index * 3000 for index in range(101)]
    assert [event["type"] for event in cut.events] == ["mapping", "epoch"]
    assert cut.fragments[0].first_rtp == 2**32 - 9000
    assert cut.fragments[0].last_rtp == 100 * 3000 - 9000


def test_silence_is_a_gap_even_when_nothing_was_lost() -> None:
    _, sender = begun()
    sender.tick(30)
    sender.send()
    assert gaps(cut_now(sender)) == [("no-media", 3000, 93_000, 0, 0)]


def test_silence_until_the_end_is_a_gap() -> None:
    track, sender = begun()
    track.end(T0 + 10 * SECOND_NS)
    assert gaps(cut_now(sender)) == [("no-media", 3000, 900_000, 0, 0)]


def test_a_track_that_never_came_is_a_gap() -> None:
    track = Track("close-video", Codec.H264)
    track.begin(T0, T0)
    track.end(T0 + SECOND_NS)
    assert gaps(track.cut(T0 + SECOND_NS)) == [("no-connection", 0, 90_000, 0, 0)]


def test_waits_for_a_key_frame_and_says_so() -> None:
    track, sender = picture_track()
    assert track.wants_key_frame
    track.begin(T0, T0)
    sender.send(6)
    sender.packet(IDR)
    sender.tick()
    assert track.wants_key_frame, "a key frame without parameter sets can't be shown"
    sender.key()
    assert not track.wants_key_frame
    sender.send(1)
    cut = cut_now(sender)
    assert gaps(cut) == [("no-key-frame", 0, 21_000, 0, 7)]
    assert cut.fragments[0].key_frames == (21_000,)


def test_parameter_sets_from_the_offer_will_do() -> None:
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock(), [SPS, PPS])
    track.begin(T0, T0)
    sender = Sender(track)
    sender.packet(IDR)
    cut = cut_now(sender)
    assert cut.fragments[0].codec == "avc1.42c01e"
    assert gaps(cut) == []


def test_new_parameter_sets_begin_an_epoch_within_one_cut() -> None:
    _, sender = begun()
    sender.send(2)
    sender.key(SPS_HD, PPS_HD)
    sender.send(2)
    sender.key(SPS_HD, PPS_HD)
    sender.key()
    cut = cut_now(sender)
    assert [(each.epoch, each.samples, each.init is not None, each.codec) for each in cut.fragments] == [
        (0, 3, True, "avc1.42c01e"),
        (1, 4, True, "avc1.641028"),
        (2, 1, True, "avc1.42c01e"),
    ]
    assert [each.sequence for each in cut.fragments] == [1, 2, 3]


def test_a_camera_that_comes_back_in_another_codec_goes_on_in_a_new_epoch() -> None:
    track, sender = begun()
    sender.send(29)
    track.disconnect()
    track.connect("two", sender.now_ns, SenderClock(), codec=Codec.VP8)
    key = b"\x10\x10\x02\x00\x9d\x01\x2a\x80\x02\x68\x01" + bytes(50)
    for number, payload in enumerate((key, b"\x10\x31" + bytes(40))):
        give(track, Packet(number, number * 3000, True, payload), payload, sender.now_ns + number * 33 * MS)
    cut = track.cut(sender.now_ns + 66 * MS)
    assert [(each.epoch, each.codec, each.samples) for each in cut.fragments] == [
        (0, "avc1.42c01e", 30),
        (1, "vp08.00.30.08", 2),
    ]
    assert [gap[0] for gap in gaps(cut)] == ["reconnect"]
