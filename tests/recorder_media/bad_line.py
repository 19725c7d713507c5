"""A bad line: which packets of a stream come, when, and what those that do not come leave wanting."""

from __future__ import annotations

from itertools import accumulate
from random import Random

from evidence_store.whole_pictures import Loss, Unshown
from recorder.box_reader import boxes, parse_fragment
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Event, Fragment
from recorder.track import Track

from .clips import paced
from .payloads import Packet, split_lengths, split_obus

BEGIN_NS = 7_000 * SECOND_NS


def track_of(codec: Codec) -> Track:
    track = Track("wide", codec)
    track.connect("first", BEGIN_NS, SenderClock())
    track.begin(BEGIN_NS, BEGIN_NS)
    return track


def in_time(sent: list[Packet], codec: Codec) -> list[tuple[int, Packet]]:
    """A picture is sent at its time, or with a later one that had to go before it."""
    timed = paced(sent, codec, BEGIN_NS)
    latest = accumulate((at for at, _ in timed), max)
    return [(at, packet) for at, (_, packet) in zip(latest, timed, strict=True)]


def with_losses(sent: list[Packet], codec: Codec, seed: int) -> tuple[list[tuple[int, str, Packet]], set[int]]:
    """Some are lost for good, alone and in bursts, but for the last, whose loss would be nobody's knowledge. Arrivals,
    and the RTP times that lack something."""
    random = Random(seed)  # noqa: S311
    spared = next(number for number, packet in enumerate(sent) if packet.timestamp in times(sent)[-6:])
    arrivals, wanting, burst = [], set(), 0
    for number, (at, packet) in enumerate(in_time(sent, codec)):
        if burst == 0 and random.random() < 0.03:
            burst = random.choice((1, 1, 2, 7))
        if burst and 1 < number < spared:
            burst -= 1
            wanting.add(packet.timestamp)
        else:
            arrivals.append((at, "wide", packet))
    return arrivals, wanting


def pieces_of(codec: Codec, data: bytes) -> list[bytes]:
    if codec in (Codec.H264, Codec.H265):
        return split_lengths(data)
    return split_obus(data) if codec is Codec.AV1 else [data]


def times(sent: list[Packet]) -> list[int]:
    return list(dict.fromkeys(packet.timestamp for packet in sent))


def signed(time: int) -> int:
    return ((time + 2**31) & 0xFFFFFFFF) - 2**31


def unshown_of(fragments: list[Fragment], events: list[Event]) -> Unshown:
    """As the store works it out of what a take declared."""
    losses = [
        Loss(int(e["from"] or 0), int(e["to"] or 0), str(e["reason"]), bool(e["packets"] or e["units"]))
        for e in events
        if e["type"] == "gap"
    ]
    keys = [key for each in fragments for key in each.key_frames]
    return Unshown.of(losses, keys, max(each.end for each in fragments), [each.first for each in fragments])


def parse_media(media: bytes) -> list[tuple[int, int, bytes]]:
    """(media time, duration, bytes) of each sample, in the order sent. The recorder's own strict reader reads it."""
    found = []
    ends = list(accumulate(len(payload) + 8 for _, payload in boxes(media)))
    for begin, end in zip([0, *ends[1::2]], ends[1::2], strict=False):
        parsed = parse_fragment(media[begin:end])
        at = parsed.base_time
        for sample in parsed.samples:
            found.append((at + sample.offset, sample.duration, sample.data))
            at += sample.duration
    return found
