"""What a browser is given of a track that lost packets: whole pictures that rest on whole ones, and no hole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from evidence_store.errors import InvalidInput
from evidence_store.whole_pictures import Unshown, whole_pictures
from recorder.boxes import Sample, fragment

from .bad_line import parse_media, pieces_of, signed, times, track_of, unshown_of, with_losses
from .clips import decode, run
from .streams import KINDS, Stream, make_stream

VIDEO = [name for name, kind in KINDS.items() if kind.codec.video]
STREAMS: dict[str, Stream] = {}
SECOND = 90_000
PICTURE = SECOND // 30


@pytest.fixture
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Made once for all tests of this file."""
    name = request.param
    if name not in STREAMS:
        STREAMS[name] = make_stream(name, tmp_path_factory.mktemp(name), 4)
    return STREAMS[name]


@pytest.mark.parametrize("stream", VIDEO, indirect=True)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [1, 4, 100], ids=["a fragment", "a second", "the take"])
def test_only_what_can_be_decoded_is_left_and_time_has_no_hole(
    stream: Stream, seed: int, length: int, tmp_path: Path
) -> None:
    arrivals, _ = with_losses(stream.sent, stream.codec, seed)
    fragments, events = run({"wide": track_of(stream.codec)}, arrivals)
    recorded = fragments["wide"]
    unshown = unshown_of(recorded, events)
    assert unshown.stretches
    segments = [recorded[at : at + length] for at in range(0, len(recorded), length)]
    given = [bytes(whole_pictures(b"".join(each.data for each in segment), unshown)) for segment in segments]
    kept = [sample for each in given for sample in parse_media(each)]

    (mapping,) = [event for event in events if event["type"] == "mapping"]
    start = int(mapping["rtp"] or 0) - int(mapping["media_time"] or 0)
    sent = {signed(time - start): number for number, time in enumerate(times(stream.sent))}
    keys = {sent[key] for each in recorded for key in each.key_frames}
    numbers = [sent[time] for time, _, _ in kept]
    there = set(numbers)
    for number, (_, _, data) in zip(numbers, kept, strict=True):
        assert pieces_of(stream.codec, data) == stream.units[number][1]
        below = max(key for key in keys if key <= number)
        assert all(each in there for each in range(below, number)), "what it rests on is there"
    in_order = sorted(kept)
    for (time, _, _), (after, _, _) in pairwise(in_order):
        reaches = max(t + d for t, d, _ in in_order if t <= time)
        assert reaches >= after - PICTURE, f"{time} to {after}"
    init = recorded[0].init or b""
    if all(each.epoch == recorded[0].epoch for each in recorded):
        assert decode(tmp_path / "shown.mp4", init + b"".join(given)) == len(kept)


def picture(time: int, key: bool = False) -> bytes:
    return fragment(1 + time // PICTURE, time, [Sample(b"picture %d" % time, PICTURE, key)])


def test_without_a_loss_nothing_is_copied() -> None:
    media = memoryview(picture(0, key=True) + picture(PICTURE))
    assert whole_pictures(media, Unshown()) is media
    far = Unshown.of([(10 * SECOND, 11 * SECOND)], [0, 12 * SECOND], 20 * SECOND)
    assert whole_pictures(media, far) == media


def test_the_last_whole_picture_stands_until_the_next_key_frame() -> None:
    media = b"".join(picture(PICTURE * number, key=number in (0, 6)) for number in range(8))
    unshown = Unshown.of([(2 * PICTURE, 3 * PICTURE)], [0, 6 * PICTURE], 8 * PICTURE)
    assert unshown.stretches == ((2 * PICTURE, 6 * PICTURE),)
    given = parse_media(bytes(whole_pictures(media, unshown)))
    assert [(time // PICTURE, duration // PICTURE) for time, duration, _ in given] == [(0, 1), (1, 5), (6, 1), (7, 1)]


def test_a_segment_within_the_loss_is_empty_and_the_one_before_covers_it() -> None:
    unshown = Unshown.of([(2 * PICTURE, 3 * PICTURE)], [0, 6 * PICTURE], 8 * PICTURE)
    first = b"".join(picture(PICTURE * number, key=number == 0) for number in range(2))
    assert [duration // PICTURE for _, duration, _ in parse_media(bytes(whole_pictures(first, unshown)))] == [1, 5]
    assert whole_pictures(b"".join(picture(PICTURE * number) for number in range(3, 6)), unshown) == b""


@pytest.mark.parametrize(
    ("gaps", "stretches"),
    [
        ([], ()),
        ([(10, 20)], ((10, 50),)),
        ([(10, 20), (30, 40)], ((10, 50),)),
        ([(10, 50)], ((10, 50),)),
        ([(10, 20), (50, 60)], ((10, 90),)),
        ([(10, 20), (60, 70)], ((10, 50), (60, 90))),
        ([(60, 70), (10, 20)], ((10, 50), (60, 90))),
        ([(95, 97)], ((95, 99),)),
        ([(95, 200)], ((95, 200),)),
        ([(10, 10)], ((10, 50),)),
        ([(50, 50)], ()),
    ],
)
def test_a_loss_reaches_to_the_next_key_frame(
    gaps: list[tuple[int, int]], stretches: tuple[tuple[int, int], ...]
) -> None:
    assert Unshown.of(gaps, [90, 0, 50], 99).stretches == stretches


@pytest.mark.parametrize("bad", [b"moof", b"\0\0\0\x08moof", picture(0)[:-1], picture(0)[8:], picture(0) * 2 + b"\0"])
def test_what_is_no_fragment_is_refused(bad: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a fragment"):
        whole_pictures(bad, Unshown(((0, 1),)))
