"""What the player is given of each codec, out of the vault: MP4 as it was sealed, VP8 as WebM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from api.desk.media import MediaDesk
from evidence_store.webm import is_webm
from recorder.clock import SenderClock
from recorder.fragments import Event, Fragment
from recorder.sealer import Tick
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from recorder.ticker import fragment_messages, track_event
from recorder.track import Track
from tests.house import BEGAN, TICK_NS, TRACKS, House, begin
from tests.recorder_media.bad_line import pieces_of, times, track_of, unshown_of, with_losses
from tests.recorder_media.clips import paced, packets, run
from tests.recorder_media.streams import Stream, make_stream

PICTURE = TRACKS[0]


def _recorded(stream: Stream) -> list[Fragment]:
    track = Track("picture", stream.codec)
    track.connect("one", 10**12, SenderClock())
    track.begin(10**12, 10**12)
    return run({"it": track}, [(at, "it", each) for at, each in paced(stream.sent, stream.codec, 10**12)])[0]["it"]


def _delivered(
    house: House, spool: Spool, order: Order, fragments: list[Fragment], events: Sequence[Event]
) -> TakeFolder:
    """A take of them, each in a tick of its own; the events in the last one."""
    sealer = begin(house, spool, order)
    for t, each in enumerate(fragments):
        told = [] if t else [{"monotonic": "0", "type": "origin", "utc": str(BEGAN)}]
        sealer.write(Tick(fragment_messages(PICTURE, each), told, t * TICK_NS, BEGAN + (t + 1) * TICK_NS))
    told = [track_event(PICTURE, event, BEGAN) for event in events]
    sealer.close(Tick([], told, len(fragments) * TICK_NS, BEGAN + (len(fragments) + 1) * TICK_NS))
    house.deliver(sealer.folder)
    return sealer.folder


@pytest.mark.parametrize("name", ["vp8", "vp9"])
def test_what_was_sealed_is_what_the_player_gets(
    house: House, spool: Spool, order: Order, tmp_path: Path, name: str
) -> None:
    stream = make_stream(name, tmp_path, 5)
    fragments = _recorded(stream)
    _delivered(house, spool, order, fragments, [])
    desk = MediaDesk(house.store.book, house.store.playback)
    (take,) = desk.index(order.interview.hex())
    track = next(each for each in take.tracks if each.id == PICTURE.id)
    assert [init.codec for init in track.inits] == [fragments[0].codec]
    assert len(track.segments) > 1
    assert track.unshown == ()
    pieces = [desk.init(order.interview.hex(), 1, track.id, 0)]
    pieces += [bytes(desk.segment(order.interview.hex(), 1, track.id, each.number)) for each in track.segments]
    assert [is_webm(each) for each in pieces] == [name == "vp8"] * len(pieces)
    seen = [data for _, _, data in packets(b"".join(pieces))]
    assert seen == [frame for _, (frame,) in stream.units]


@pytest.mark.parametrize("name", ["h264_baseline", "vp8", "vp9"])
def test_of_what_lost_packets_the_player_gets_whole_pictures(
    house: House, spool: Spool, order: Order, tmp_path: Path, name: str
) -> None:
    stream = make_stream(name, tmp_path, 5)
    arrivals, wanting = with_losses(stream.sent, stream.codec, seed=0)
    fragments, events = run({"wide": track_of(stream.codec)}, arrivals)
    folder = _delivered(house, spool, order, fragments["wide"], [each for each in events if each["type"] == "gap"])
    interview, desk = order.interview.hex(), MediaDesk(house.store.book, house.store.playback)
    (take,) = desk.index(interview)
    track = next(each for each in take.tracks if each.id == PICTURE.id)
    stretches = unshown_of(fragments["wide"], events).stretches
    assert track.unshown == tuple((each.begin, each.stands) for each in stretches)
    keys = {key for each in track.segments for key in each.key_frames}
    assert keys == {key for each in fragments["wide"] for key in each.key_frames}
    given = b"".join(bytes(desk.segment(interview, 1, track.id, each.number)) for each in track.segments)
    seen = [(time, data) for _, time, data in packets(desk.init(interview, 1, track.id, 0) + given)]
    whole = [pieces for time, pieces in zip(times(stream.sent), stream.units, strict=True) if time not in wanting]
    assert 10 < len(seen) < len(whole)
    assert all(pieces_of(stream.codec, data) in [pieces for _, pieces in whole] for _, data in seen)
    # What is stored is what came, all of it.
    numbers = sorted({each.number // 1000 for each in track.segments})
    stored = [house.store.playback.media(folder.enrolment.hex(), folder.take, number, 0, 0) for number in numbers]
    assert b"".join(stored) == b"".join(each.data for each in fragments["wide"])
