from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest

from recorder.box_reader import parse_init
from recorder.boxes import initialisation
from recorder.clock import SenderClock
from recorder.picture_order import DecodingTimes, ShownOrder
from recorder.track import Track

from .clips import ffmpeg, files, paced, run
from .streams import make_stream

STEP = 3000
PLAIN = [0, 1, 2, 3, 4, 5]
B_FRAMES = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
PYRAMID = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]
BACKWARDS = [20, 21, 22, 23, 24, 25, 2, 3, 4, 5]


def _learnt(order: list[int], told: int = 0) -> ShownOrder:
    learnt = ShownOrder(reorders=True)
    for present in order:
        learnt.add(present * STEP, told)
    return learnt


@pytest.mark.parametrize(
    ("order", "depth"),
    [
        pytest.param(PLAIN, 0, id="as_shown"),
        pytest.param(B_FRAMES, 1, id="b_frames"),
        pytest.param(PYRAMID, 2, id="b_frames_that_refer_to_b_frames"),
        pytest.param(BACKWARDS, 0, id="a_clock_that_goes_back_is_no_order"),
    ],
)
def test_how_many_are_held_back_is_seen(order: list[int], depth: int) -> None:
    assert _learnt(order).depth == depth
    assert _learnt(order, told=2).depth == 2


@pytest.mark.parametrize(("order", "told"), [(PLAIN, 0), (PLAIN, 2), (B_FRAMES, 1), (B_FRAMES, 3), (PYRAMID, 2)])
def test_nothing_later_is_shown_before_what_is_certain(order: list[int], told: int) -> None:
    learnt = ShownOrder(reorders=True)
    certain = [learnt.add(present, told) for present in order]
    assert certain == sorted(certain)
    for at, sure in enumerate(certain):
        assert all(later > sure for later in order[at + 1 :])


@pytest.mark.parametrize("first", [0, STEP, 10 * STEP])
@pytest.mark.parametrize(
    ("order", "depth"),
    [(PLAIN, 0), (PLAIN, 2), (B_FRAMES, 1), (B_FRAMES, 2), (PYRAMID, 2), (PYRAMID, 4), (BACKWARDS, 0)],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_decoded_in_the_order_sent_and_before_it_is_shown(order: list[int], depth: int, first: int, cut: int) -> None:
    shown = [first + present * STEP for present in order]
    times, decoding = [], DecodingTimes()
    for at in range(0, len(shown), cut):
        *some, end = decoding.of(shown[at : at + cut], depth, STEP)
        assert end > some[-1]
        times += some
    assert all(before < after for before, after in pairwise([-1, *times]))
    if order is not BACKWARDS:
        slack = depth if first == 0 else 0  # with no time before the origin, the first come a tick apart
        assert all(at <= present + slack for at, present in zip(times, shown, strict=True))
    if not depth and order is PLAIN:
        assert times == shown


@pytest.mark.parametrize("name", ["h264_main", "h264_high", "h265_b_frames"])
def test_ffmpeg_finds_the_times_right_and_copies_them(name: str, tmp_path: Path) -> None:
    stream = make_stream(name, tmp_path)
    begin_ns = 10**12
    track = Track("wide", stream.codec)
    track.connect("first", begin_ns, SenderClock())
    track.begin(begin_ns, begin_ns)
    fragments, _ = run(
        {"wide": track}, [(at, "wide", packet) for at, packet in paced(stream.sent, track.codec, begin_ns)]
    )
    (whole,) = files(fragments["wide"])
    path = tmp_path / "recorded.mp4"
    path.write_bytes(whole)
    with av.open(str(path)) as container:
        coded = [(packet.dts or 0, packet.pts or 0) for packet in container.demux(video=0) if packet.size]
    assert all(before < after for (before, _), (after, _) in pairwise(coded))
    assert all(dts <= pts for dts, pts in coded)
    first = min(pts for _, pts in coded)
    sent = list(dict.fromkeys(packet.timestamp for packet in stream.sent))
    least = min((time - sent[0] + 2**31) & 0xFFFFFFFF for time in sent)
    assert [pts - first for _, pts in coded] == [((time - sent[0] + 2**31) & 0xFFFFFFFF) - least for time in sent]
    with av.open(str(path)) as container:
        decoded = [frame.pts for frame in container.decode(video=0)]
    assert decoded == sorted(pts for _, pts in coded)
    # A muxer that checks decoding times has nothing to say.
    ffmpeg("-i", str(path), "-c", "copy", "-f", "mpegts", "-y", str(tmp_path / "copied.ts"))
    ffmpeg("-i", str(path), "-c", "copy", "-y", str(tmp_path / "copied.mp4"))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("h264_high", "avc1.64"),
        ("h265", "hev1.1.6.L"),
        ("vp8", "vp08.00"),
        ("vp9", "vp09.00"),
        ("av1", "av01.0"),
        ("opus", "opus"),
    ],
)
def test_every_initialisation_reads_back(name: str, entry: str, tmp_path: Path) -> None:
    stream = make_stream(name, tmp_path, seconds=1)
    track = Track("wide", stream.codec)
    track.connect("first", 0, SenderClock())
    track.begin(0, 0)
    fragments, _ = run({"wide": track}, [(at, "wide", packet) for at, packet in paced(stream.sent, track.codec, 0)])
    first = fragments["wide"][0]
    assert first.init is not None
    parsed = parse_init(first.init)
    assert initialisation(parsed.setup, parsed.timescale) == first.init
    assert parsed.setup.codec == first.codec
    assert (parsed.setup.width, parsed.setup.height) == ((320, 180) if stream.codec.video else (0, 0))
    assert first.codec.startswith(entry)
