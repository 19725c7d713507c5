"""What a real encoder sent is what is in the file: every NAL unit and Opus packet, byte for byte, in order, in time."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from recorder.box_reader import parse_fragment, parse_init
from recorder.boxes import fragment, initialisation
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Fragment
from recorder.h264_setup import avc1
from recorder.track import Track

from .clips import SEI_PATTERN, Clip, decode, files, make_clip, paced, packets, run, sent_by_ffmpeg, sound_packets
from .payloads import Packet, give, packetise, split_lengths

BEGIN_NS = 5_000 * SECOND_NS
VIDEO_RTP, AUDIO_RTP = 2**32 - 45_000, 2**32 - 24_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", x264="bframes=0:profile=baseline")


def _tracks() -> dict[str, Track]:
    tracks = {"picture": Track("wide-video", Codec.H264), "sound": Track("wide-audio", Codec.OPUS)}
    sender = SenderClock()
    for track in tracks.values():
        track.connect("first", BEGIN_NS, sender)
        track.begin(BEGIN_NS, BEGIN_NS)
    return tracks


def _arrivals(picture: list[Packet], sound: list[Packet]) -> list[tuple[int, str, Packet]]:
    timed = [(at, "picture", packet) for at, packet in paced(picture, Codec.H264, BEGIN_NS)]
    timed += [(at, "sound", packet) for at, packet in paced(sound, Codec.OPUS, BEGIN_NS)]
    return sorted(timed, key=lambda one: one[0])


def _sent(clip: Clip) -> list[tuple[int, str, Packet]]:
    pictures = [(time + VIDEO_RTP, nals) for time, nals in clip.pictures]
    return _arrivals(list(packetise(pictures, first=65_500)), sound_packets(clip.sound, 65_530, AUDIO_RTP))


def _check(clip: Clip, fragments: dict[str, list[Fragment]], folder: Path) -> None:
    (picture,), (sound,) = files(fragments["picture"]), files(fragments["sound"])
    seen = [(time, split_lengths(data)) for _, time, data in packets(picture)]
    assert [nals for _, nals in seen] == [nals for _, nals in clip.pictures]
    expected = [time - clip.pictures[0][0] for time, _ in clip.pictures]
    assert max(abs(time - seen[0][0] - want) for (time, _), want in zip(seen, expected, strict=True)) <= 1
    heard = [(time, data) for _, time, data in packets(sound)]
    assert [data for _, data in heard] == [data for _, data in clip.sound]
    expected = [time - clip.sound[0][0] for time, _ in clip.sound]
    assert max(abs(time - heard[0][0] - want) for (time, _), want in zip(heard, expected, strict=True)) <= 1
    assert decode(folder / "picture.mp4", picture) == len(clip.pictures)
    assert decode(folder / "sound.mp4", sound) == len(clip.sound)
    for each in (*fragments["picture"], *fragments["sound"]):
        parsed = parse_fragment(each.data)
        assert fragment(parsed.sequence, parsed.base_time, parsed.samples) == each.data
        if each.init is not None:
            parse_init(each.init)


def test_every_nal_unit_and_opus_packet_is_there(clip: Clip, tmp_path: Path) -> None:
    fragments, events = run(_tracks(), _sent(clip))
    _check(clip, fragments, tmp_path)
    assert [event for event in events if event["type"] == "gap"] == []
    assert {event["type"] for event in events} == {"mapping", "epoch"}
    assert any(SEI_PATTERN.split("+")[1].encode() in each.data for each in fragments["picture"])
    for each in fragments["picture"][:-1]:
        assert each.duration <= 90_000 // 4 + 3000
    keys = [key for each in fragments["picture"] for key in each.key_frames]
    assert keys == pytest.approx([0, 90_000, 180_000], abs=1)
    assert all(each.incomplete == 0 for track in fragments.values() for each in track)


def test_each_fragments_time_is_exact_where_the_one_before_only_estimates(clip: Clip) -> None:
    fragments, _ = run(_tracks(), _sent(clip))
    for before, after in zip(fragments["sound"], fragments["sound"][1:], strict=False):
        assert before.base + before.duration == after.base
    for before, after in zip(fragments["picture"], fragments["picture"][1:], strict=False):
        assert abs(before.base + before.duration - after.base) <= 1
        assert (
            after.first_rtp == (fragments["picture"][0].first_rtp + after.first - fragments["picture"][0].first) % 2**32
        )


def test_reordered_and_duplicated_packets_give_the_same_bytes(clip: Clip) -> None:
    straight, _ = run(_tracks(), _sent(clip))
    random = Random(11)  # noqa: S311
    first = [one for one in _sent(clip) if one[2].sequence in (65_500, 65_530)]
    rest = [one for one in _sent(clip) if one not in first]
    rest = sorted([*rest, *random.sample(rest, 50)], key=lambda one: one[0] + random.randrange(100_000_000))
    tracks = _tracks()
    # Each arrives when its turn comes in the shuffled order, at most 100 ms late.
    at = BEGIN_NS
    late = []
    for sent_ns, name, packet in [*first, *rest]:
        at = max(at, sent_ns)
        late.append((at, name, packet))
    shuffled, events = run(tracks, late)
    assert not [event for event in events if event["type"] == "gap"]
    assert tracks["picture"].counters.recovered > 0
    assert tracks["picture"].counters.duplicates + tracks["picture"].counters.late > 0
    for name in straight:
        want = [data for each in files(straight[name]) for _, _, data in packets(each)]
        assert [data for each in files(shuffled[name]) for _, _, data in packets(each)] == want


def test_same_packets_at_same_cuts_give_the_same_bytes(clip: Clip) -> None:
    assert run(_tracks(), _sent(clip)) == run(_tracks(), _sent(clip))


def test_what_ffmpegs_rtp_muxer_sends(clip: Clip, tmp_path: Path) -> None:
    picture, sound, reports = sent_by_ffmpeg(clip.path)
    assert len(reports) >= 1
    tracks = _tracks()
    tracks["picture"].sender_report(*reports[0], BEGIN_NS)
    fragments, events = run(tracks, _arrivals(picture, sound))
    assert [event for event in events if event["type"] == "gap"] == []
    _check(clip, fragments, tmp_path)


def test_pictures_sent_out_of_order_keep_their_times(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "b.mp4", seconds=2, x264="bframes=2:b-adapt=0:b-pyramid=none")
    times = [time for time, _ in clip.pictures]
    assert times != sorted(times)
    fragments, events = run(_tracks(), _sent(clip))
    assert [event for event in events if event["type"] == "gap"] == []
    _check(clip, fragments, tmp_path)


def test_pre_roll_begins_with_the_key_frame_and_sound_since_then(clip: Clip, tmp_path: Path) -> None:
    tracks = {"picture": Track("wide-video", Codec.H264), "sound": Track("wide-audio", Codec.OPUS)}
    sender = SenderClock()
    for track in tracks.values():
        track.connect("first", BEGIN_NS, sender)
    start_ns = BEGIN_NS + 1_600_000_000
    arrivals = _sent(clip)
    for at, name, packet in arrivals:
        if at < start_ns:
            give(tracks[name], packet, packet.payload, at)
    origin_ns = min(pre for track in tracks.values() if (pre := track.pre_roll_ns(start_ns)) is not None)
    assert origin_ns == pytest.approx(BEGIN_NS + SECOND_NS, abs=40_000_000)
    for track in tracks.values():
        track.begin(origin_ns, start_ns)
    fragments, events = run(tracks, [one for one in arrivals if one[0] >= start_ns])
    assert [event for event in events if event["type"] == "gap"] == []
    first = next(index for index, (time, _) in enumerate(clip.pictures) if time - clip.pictures[0][0] >= 89_999)
    (picture,), (sound,) = files(fragments["picture"]), files(fragments["sound"])
    assert [split_lengths(data) for _, _, data in packets(picture)] == [nals for _, nals in clip.pictures[first:]]
    heard = [data for _, _, data in packets(sound)]
    assert heard == [data for _, data in clip.sound][-len(heard) :]
    assert len(heard) == pytest.approx(100, abs=3)
    assert fragments["picture"][0].pre_roll == pytest.approx(18, abs=1)
    assert all(each.pre_roll == 0 for each in fragments["picture"][1:])
    assert fragments["sound"][0].pre_roll == pytest.approx(30, abs=2)
    decode(tmp_path / "p.mp4", picture)


def test_a_new_picture_size_begins_a_new_epoch(clip: Clip, tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.mp4", seconds=1, size="320x180")
    later = [(time + 3 * 90_000, nals) for time, nals in small.pictures]
    arrivals = _arrivals(list(packetise([*clip.pictures, *later])), [])
    tracks = _tracks()
    del tracks["sound"]
    fragments, events = run(tracks, arrivals)
    first, second = files(fragments["picture"])
    assert [event["number"] for event in events if event["type"] == "epoch"] == [0, 1]
    codecs = {each.epoch: each.codec for each in fragments["picture"]}
    assert codecs[0].startswith("avc1.42")
    assert len(set(codecs.values())) == 2
    assert decode(tmp_path / "first.mp4", first) == len(clip.pictures)
    assert decode(tmp_path / "second.mp4", second) == len(small.pictures)
    ends = max(each.base + each.duration for each in fragments["picture"] if each.epoch == 0)
    assert abs(ends - min(each.base for each in fragments["picture"] if each.epoch == 1)) <= 1


def test_an_initialisation_alone_opens(clip: Clip) -> None:
    sets = [nal for _, nals in clip.pictures for nal in nals]
    sps = next(nal for nal in sets if nal[0] & 0x1F == 7)
    pps = next(nal for nal in sets if nal[0] & 0x1F == 8)
    assert list(packets(initialisation(avc1((sps,), (pps,)), 90_000))) == []
