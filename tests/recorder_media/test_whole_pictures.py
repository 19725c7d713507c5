"""What a browser is given of a track that lost packets: whole pictures that rest on whole ones, and no hole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from evidence_store.errors import InvalidInput
from evidence_store.whole_pictures import Loss, Stretch, Unshown, whole_pictures
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
    far = Unshown.of([Loss(10 * SECOND, 11 * SECOND, "loss")], [0, 12 * SECOND], 20 * SECOND)
    assert whole_pictures(media, far) == media


def test_the_last_whole_picture_stands_until_the_next_key_frame() -> None:
    media = b"".join(picture(PICTURE * number, key=number in (0, 6)) for number in range(8))
    unshown = Unshown.of([Loss(2 * PICTURE, 3 * PICTURE, "loss")], [0, 6 * PICTURE], 8 * PICTURE)
    assert unshown.stretches == (Stretch(2 * PICTURE, 6 * PICTURE, 6 * PICTURE),)
    given = parse_media(bytes(whole_pictures(media, unshown)))
    assert [(time // PICTURE, duration // PICTURE) for time, duration, _ in given] == [(0, 1), (1, 5), (6, 1), (7, 1)]


def test_a_segment_within_the_loss_is_empty_and_the_one_before_covers_it() -> None:
    unshown = Unshown.of([Loss(2 * PICTURE, 3 * PICTURE, "loss")], [0, 6 * PICTURE], 8 * PICTURE)
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
    losses = [Loss(begin, end, "loss") for begin, end in gaps]
    assert Unshown.of(losses, [90, 0, 50], 99).stretches == tuple(Stretch(*each, each[1]) for each in stretches)


@pytest.mark.parametrize(
    ("losses", "stretches"),
    [
        ([Loss(10, 20, "no-media")], []),
        ([Loss(10, 50, "reconnect")], []),
        ([Loss(10, 50, "reconnect", lacking=True)], [Stretch(10, 50, 10)]),
        ([Loss(10, 20, "discontinuity")], []),
        ([Loss(10, 20, "discontinuity", lacking=True)], [Stretch(10, 50, 50)]),
        ([Loss(10, 12, "loss"), Loss(15, 50, "reconnect")], [Stretch(10, 50, 15)]),
        ([Loss(10, 12, "loss"), Loss(15, 50, "pause")], [Stretch(10, 50, 15)]),
        ([Loss(10, 12, "loss"), Loss(60, 90, "reconnect")], [Stretch(10, 50, 50)]),
        ([Loss(10, 12, "spool-full")], [Stretch(10, 50, 50)]),
        ([Loss(0, 12, "spool-full")], [Stretch(0, 50, 0)]),
    ],
)
def test_no_picture_stands_where_no_camera_was_sending(losses: list[Loss], stretches: list[Stretch]) -> None:
    assert list(Unshown.of(losses, [0, 50, 90], 99).stretches) == stretches


def coded(pictures: list[tuple[int, int, bool]]) -> bytes:
    """(sent, shown, key) of each, counted in pictures."""
    after = [sent for sent, _, _ in pictures[1:]] + [pictures[-1][0] + 1]
    samples = [
        Sample(b"%d" % shown, (until - sent) * PICTURE, key, (shown - sent) * PICTURE)
        for (sent, shown, key), until in zip(pictures, after, strict=True)
    ]
    return fragment(1, pictures[0][0] * PICTURE, samples)


def test_pictures_before_a_key_frame_and_sent_after_it_end_nothing() -> None:
    """Open GOP, as H.265 has it: 6 and 7 rest on what was lost, 9 and 10 do not."""
    pictures = [(0, 0, True), (1, 1, False), (2, 2, False), (4, 4, False), (5, 5, False), (6, 8, True), (7, 6, False)]
    pictures += [(8, 7, False), (9, 11, False), (10, 9, False), (11, 10, False)]
    unshown = Unshown.of([Loss(3 * PICTURE, 4 * PICTURE, "loss")], [0, 8 * PICTURE], 12 * PICTURE)
    given = parse_media(bytes(whole_pictures(coded(pictures), unshown)))
    assert [time // PICTURE for time, _, _ in given] == [0, 1, 2, 8, 11, 9, 10]
    assert given[2][1] == 6 * PICTURE


def test_a_segment_that_ends_before_the_spool_was_full_has_its_last_picture_stand() -> None:
    """The gap is declared by when pictures came, a little after they were made."""
    first = b"".join(picture(PICTURE * number, key=number == 0) for number in range(24))
    loss = Loss(30 * PICTURE, 60 * PICTURE, "spool-full")
    begins = [0, 8 * PICTURE, 16 * PICTURE, 54 * PICTURE]
    unshown = Unshown.of([loss], [0, 80 * PICTURE], 100 * PICTURE, begins)
    time, duration, _ = parse_media(bytes(whole_pictures(first, unshown)))[-1]
    assert (time + duration) // PICTURE == 80
    unshown = Unshown.of([loss], [0, 80 * PICTURE], 100 * PICTURE, [*begins[:3], 24 * PICTURE])
    assert whole_pictures(first, unshown) == first


@pytest.mark.parametrize("bad", [b"moof", b"\0\0\0\x08moof", picture(0)[:-1], picture(0)[8:], picture(0) * 2 + b"\0"])
def test_what_is_no_fragment_is_refused(bad: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a fragment"):
        whole_pictures(bad, Unshown((Stretch(0, 1, 1),)))
