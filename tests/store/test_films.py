"""What the player is given of each codec, out of the vault: MP4 as it was sealed, VP8 as WebM."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.desk.media import MediaDesk
from evidence_store.webm import is_webm
from recorder.clock import SenderClock
from recorder.fragments import Fragment
from recorder.sealer import Tick
from recorder.spool import Spool
from recorder.take import Order
from recorder.ticker import fragment_messages
from recorder.track import Track
from tests.house import BEGAN, TICK_NS, TRACKS, House, begin
from tests.recorder_media.clips import paced, packets, run
from tests.recorder_media.streams import Stream, make_stream


def _recorded(stream: Stream) -> list[Fragment]:
    track = Track("picture", stream.codec)
    track.connect("one", 10**12, SenderClock())
    track.begin(10**12, 10**12)
    return run({"it": track}, [(at, "it", each) for at, each in paced(stream.sent, stream.codec, 10**12)])[0]["it"]


@pytest.mark.parametrize("name", ["vp8", "vp9"])
def test_what_was_sealed_is_what_the_player_gets(
    house: House, spool: Spool, order: Order, tmp_path: Path, name: str
) -> None:
    stream = make_stream(name, tmp_path, 5)
    sealer = begin(house, spool, order)
    picture = TRACKS[0]
    fragments = _recorded(stream)
    for t, each in enumerate(fragments):
        events = [] if t else [{"monotonic": "0", "type": "origin", "utc": str(BEGAN)}]
        sealer.write(Tick(fragment_messages(picture, each), events, t * TICK_NS, BEGAN + (t + 1) * TICK_NS))
    sealer.close(Tick([], [], len(fragments) * TICK_NS, BEGAN + (len(fragments) + 1) * TICK_NS))
    house.deliver(sealer.folder)
    desk = MediaDesk(house.store.book, house.store.playback)
    (take,) = desk.index(order.interview.hex())
    track = next(each for each in take.tracks if each.id == picture.id)
    assert [init.codec for init in track.inits] == [fragments[0].codec]
    assert len(track.segments) > 1
    pieces = [desk.init(order.interview.hex(), 1, track.id, 0)]
    pieces += [bytes(desk.segment(order.interview.hex(), 1, track.id, each.number)) for each in track.segments]
    assert [is_webm(each) for each in pieces] == [name == "vp8"] * len(pieces)
    seen = [data for _, _, data in packets(b"".join(pieces))]
    assert seen == [frame for _, (frame,) in stream.units]
