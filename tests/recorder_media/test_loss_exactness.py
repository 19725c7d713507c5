"""Over a bad line: what came in the end is what was sent, byte for byte; what did not come is flagged and declared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from recorder.box_reader import parse_fragment, parse_init
from recorder.clock import SECOND_NS
from recorder.fragments import Codec, Event, Fragment

from .bad_line import BEGIN_NS, in_time, pieces_of, signed, times, track_of, with_losses
from .clips import decode, files, packets, run
from .payloads import Packet
from .streams import KINDS, Stream, make_stream, sent_in_small_packets

MS = SECOND_NS // 1000

STREAMS: dict[str, Stream] = {}


@pytest.fixture
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Made once for all tests of this file."""
    name = request.param
    if name not in STREAMS:
        STREAMS[name] = make_stream(name, tmp_path_factory.mktemp(name))
    return STREAMS[name]


every_codec = pytest.mark.parametrize("stream", list(KINDS), indirect=True)


def _mended(sent: list[Packet], codec: Codec, seed: int) -> list[tuple[int, str, Packet]]:
    """One in ten lost and sent again within 160 ms, some twice, all a little out of order; the first two come first."""
    random = Random(seed)  # noqa: S311
    arrivals = []
    for number, (at, packet) in enumerate(in_time(sent, codec)):
        came = at + (random.randrange(12 * MS) if number > 1 else 0)
        if number > 1 and random.random() < 0.1:
            came += random.randrange(20 * MS, 150 * MS)
        arrivals.append((came, "wide", packet))
        if random.random() < 0.05:
            arrivals.append((came + random.randrange(200 * MS), "wide", packet))
    return sorted(arrivals, key=lambda one: one[0])


def _samples(fragments: Iterable[Fragment]) -> list[tuple[int, bytes]]:
    """(media time, bytes) of every sample, in order."""
    found = []
    for each in fragments:
        parsed = parse_fragment(each.data)
        at = parsed.base_time
        for sample in parsed.samples:
            found.append((at + sample.offset, sample.data))
            at += sample.duration
    return found


def _gaps(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event["type"] == "gap"]


def _sets_apart(stream: Stream, folder: Path, fragments: list[Fragment]) -> None:
    """FFmpeg decodes every file, without a word; what it reads are our samples, shown when they were to be shown."""
    whole = files(fragments)
    assert sum(decode(folder / f"{number}.mp4", data) for number, data in enumerate(whole)) == len(stream.units)
    assert [data for each in whole for _, _, data in packets(each)] == [data for _, data in _samples(fragments)]


@every_codec
def test_what_comes_late_twice_and_out_of_order_is_recorded_as_it_was_sent(stream: Stream, tmp_path: Path) -> None:
    track = track_of(stream.codec)
    fragments, events = run({"wide": track}, _mended(stream.sent, stream.codec, seed=len(stream.sent)))
    assert _gaps(events) == []
    got = _samples(fragments["wide"])
    assert [pieces_of(stream.codec, data) for _, data in got] == [pieces for _, pieces in stream.units]
    expected = [(packet - stream.sent[0].timestamp) & 0xFFFFFFFF for packet in times(stream.sent)]
    assert [time - got[0][0] for time, _ in got] == expected
    assert sum(each.incomplete for each in fragments["wide"]) == 0
    assert track.counters.lost == 0
    assert track.counters.recovered > 3
    _sets_apart(stream, tmp_path, fragments["wide"])


@every_codec
@pytest.mark.parametrize("seed", range(4))
def test_what_never_came_is_flagged_and_declared(stream: Stream, seed: int, tmp_path: Path) -> None:
    arrivals, wanting = with_losses(stream.sent, stream.codec, seed)
    assert wanting
    track = track_of(stream.codec)
    fragments, events = run({"wide": track}, arrivals)
    (mapping,) = [event for event in events if event["type"] == "mapping"]
    start = int(mapping["rtp"] or 0) - int(mapping["media_time"] or 0)
    whole = {signed(time - start): pieces for time, (_, pieces) in zip(times(stream.sent), stream.units, strict=True)}
    lacking = {signed(time - start) for time in wanting}
    got = {time: pieces_of(stream.codec, data) for time, data in _samples(fragments["wide"])}
    altered = {time for time, pieces in got.items() if pieces != whole[time]}
    missing = set(whole) - set(got)
    # After the beginning was lost a key frame is waited for: what came before it was whole, and is declared as well.
    assert all(time in lacking or time < min(got) for time in missing)
    # What is left of a lost picture's delimiter lies before the next one, which is therefore not called whole either.
    assert all(time in lacking or got[time][-len(whole[time]) :] == whole[time] for time in altered)
    # None that lacks a packet is passed off as whole, and each of them lies in a gap that says so.
    assert sum(each.incomplete for each in fragments["wide"]) >= len(altered)
    declared = [(int(gap["from"] or 0), int(gap["to"] or 0)) for gap in _gaps(events)]
    length = min(b - a for a, b in pairwise(sorted(whole)))
    for time in altered | missing:
        assert any(a < max(time, 0) + length and time < b for a, b in declared), f"{time} is not declared"
    assert sum(int(gap["packets"] or 0) for gap in _gaps(events)) == len(stream.sent) - len(arrivals)
    for each in files(fragments["wide"]):
        assert list(packets(each))


@every_codec
def test_a_hostile_sender_gets_nothing_but_well_formed_fragments(stream: Stream) -> None:
    random = Random(9)  # noqa: S311
    hostile = []
    for at, packet in in_time(stream.sent, stream.codec) * 4:
        payload = bytearray(packet.payload)
        for _ in range(random.choice((0, 0, 1, 3))):
            payload[random.randrange(min(len(payload), 60))] = random.randrange(256)
        bad = replace(packet, payload=bytes(payload[: random.choice((len(payload), random.randrange(1, 40)))]))
        if random.random() < 0.1:
            bad = replace(bad, timestamp=random.randrange(2**32), marker=random.random() < 0.5)
        hostile.append((at, "wide", bad))
    hostile = [(BEGIN_NS + number * MS, name, each.numbered(number)) for number, (_, name, each) in enumerate(hostile)]
    fragments, events = run({"wide": track_of(stream.codec)}, hostile)
    for each in fragments["wide"]:
        parse_fragment(each.data)
        if each.init is not None:
            parse_init(each.init)
    if stream.codec.video:
        assert _gaps(events)


@pytest.mark.parametrize("stream", ["h264_baseline", "h264_main", "h264_high"], indirect=True)
def test_another_senders_packets_give_the_same_bytes(stream: Stream) -> None:
    sent = sent_in_small_packets(stream)
    fragments, events = run({"wide": track_of(stream.codec)}, _mended(sent, stream.codec, seed=3))
    assert _gaps(events) == []
    assert [pieces_of(stream.codec, data) for _, data in _samples(fragments["wide"])] == [p for _, p in stream.units]
