"""How far the recorder believes the watch: a fixed list, this room, now, and not too often."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from evidence_store.canonical import Record
from recorder.depacketise import AccessUnit
from recorder.feed import Presence, head
from recorder.feed_server import FeedServer
from recorder.fragments import Heard
from recorder.h264_setup import avc1
from recorder.observed import MOST_A_MINUTE, WELL_WITHIN_NS, Observed
from recorder.watching.door import LARGEST_UNIT, OBSERVATION, WATCH
from recorder.watching.judge import Observation
from recorder.watching.kinds import SECOND_NS, Kind
from recorder.watching.messages import KEY, WHOLE, observation_body, parse_observation, unit_message
from recorder.watching.messages import UNIT as UNIT_HEAD
from tests.house import until
from tests.recorder_media.payloads import IDR, PPS, SPS, lengths
from tests.watch.film import CODECS, ROOM, UTC_AHEAD

NOW = 500 * SECOND_NS
BLACK = Observation("began", "wide", "video", Kind.BLACK, NOW - 2 * SECOND_NS, NOW, 3)


class Recorder:
    def __init__(self) -> None:
        self.now_ns = NOW
        self.events: list[Record] = []
        self.observed = Observed(
            ROOM.tracks(), self.events.append, expected=True,
            monotonic=lambda: self.now_ns, utc=lambda: self.now_ns + UTC_AHEAD,
        )  # fmt: skip

    def say(self, **changed: Any) -> None:
        told = json.loads(observation_body(BLACK)) | changed
        self.observed.observation(json.dumps(told).encode())


def test_what_is_said_comes_back_the_same() -> None:
    assert parse_observation(observation_body(BLACK)) == BLACK


def test_a_key_frame_is_shown_with_the_parameter_sets_that_it_lacks_itself() -> None:
    bare = AccessUnit(7, lengths(IDR), key=True, complete=True, arrival_ns=0, packets=1)
    own = AccessUnit(7, lengths(SPS, PPS, IDR), True, True, 0, 1, (SPS, PPS))
    for unit in (bare, own):
        about, data = unit_message(Heard(2**32 + 5, 0, 7, unit, avc1((SPS,), (PPS,))))
        assert UNIT_HEAD.unpack(about) == (5, KEY | WHOLE, 7)
        assert data == lengths(SPS, PPS, IDR)


@pytest.mark.parametrize(
    "changed",
    [
        {"camera": "other"}, {"camera": 7}, {"medium": "words"}, {"kind": "a sentence about a child"},
        {"kind": "silence"}, {"act": "lapsed"}, {"act": None}, {"measure": 1.5}, {"measure": True},
        {"measure": 2**31}, {"from": NOW + 1}, {"from": -1}, {"at": NOW + 1}, {"at": NOW - 200 * SECOND_NS, "from": 0},
        {"words": "free text"}, {"from": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_anything_else_is_refused_and_changes_nothing(changed: dict[str, Any]) -> None:
    recorder = Recorder()
    with pytest.raises(ValueError):
        recorder.say(**changed)
    assert recorder.events == []
    assert recorder.observed.describe(recording=True) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 900, b'{"act":"began"}' + b" " * 2000])
def test_what_is_no_observation_at_all(body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_observation(body)


def test_began_and_ended_as_events_with_utc() -> None:
    recorder = Recorder()
    recorder.say()
    recorder.say()
    assert [each["kind"] for each in recorder.observed.describe(recording=False)] == ["black"]
    assert recorder.observed.present() == recorder.events, "a take that starts now says so again"
    recorder.now_ns += SECOND_NS
    recorder.say(act="ended", at=recorder.now_ns, measure=90)
    recorder.say(act="ended", at=recorder.now_ns)
    began = {
        "act": "began", "camera": "wide", "from": str(NOW - 2 * SECOND_NS + UTC_AHEAD), "kind": "black",
        "measure": 3, "to": None, "track": 0, "type": "observation",
    }  # fmt: skip
    to = str(NOW + SECOND_NS + UTC_AHEAD)
    assert recorder.events == [began, began | {"act": "ended", "measure": 90, "to": to}], "repetitions say nothing new"


def test_an_empty_rooms_stillness_is_no_alarm_but_a_recordings_is() -> None:
    recorder = Recorder()
    recorder.say(kind="frozen")
    assert recorder.observed.describe(recording=False) == []
    assert [each["kind"] for each in recorder.observed.describe(recording=True)] == ["frozen"]


def test_a_watch_that_is_gone_leaves_nothing_open() -> None:
    recorder = Recorder()
    recorder.say()
    recorder.observed.gone()
    assert [(each["act"], each["measure"]) for each in recorder.events] == [("began", 3), ("lapsed", None)]
    assert recorder.observed.describe(recording=True) == []


def test_a_watch_that_says_nothing_is_down() -> None:
    recorder = Recorder()
    assert not recorder.observed.down(NOW + WELL_WITHIN_NS)
    assert recorder.observed.down(NOW + WELL_WITHIN_NS + 1)
    recorder.now_ns = NOW + 10 * SECOND_NS
    recorder.observed.well()
    assert not recorder.observed.down(recorder.now_ns + WELL_WITHIN_NS)


def test_a_flood_is_cut_off() -> None:
    recorder = Recorder()
    for turn in range(MOST_A_MINUTE):
        recorder.say(act=("began", "ended")[turn % 2])
    with pytest.raises(ValueError, match="too many"):
        recorder.say()
    assert len(recorder.events) == MOST_A_MINUTE
    recorder.now_ns += 61 * SECOND_NS
    recorder.say(at=recorder.now_ns)


class Client:
    """Somebody at the feed's socket."""

    def __init__(self, link: socket.socket) -> None:
        self.socket = link

    def cut_off(self) -> bool:
        """Whether the server has closed, after what it had said before."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(LARGEST_UNIT):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], Client]]:
    """Connects to the feed in `tmp_path`, again at each call."""
    with ExitStack() as links:

        def made() -> Client:
            link = links.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            link.settimeout(2)
            link.connect(str(tmp_path / "feed"))
            return Client(link)

        yield made


class Told:
    def __init__(self) -> None:
        self.well_said, self.bodies, self.gone_said = 0, list[bytes](), 0

    def well(self) -> None:
        self.well_said += 1

    def observation(self, body: bytes) -> None:
        self.bodies.append(body)

    def gone(self) -> None:
        self.gone_said += 1


async def test_only_the_watch_observes_and_it_is_no_monitor(tmp_path: Path, connect: Callable[[], Client]) -> None:
    told, presences, deserted = Told(), list[Presence](), list[bool]()
    server = FeedServer(
        tmp_path / "feed", key_frame=lambda *_: None, presence=presences.append,
        deserted=lambda: deserted.append(True), watch=told,
    )  # fmt: skip
    await server.start()
    monitor, watch = connect(), connect()
    watch.socket.send(head(WATCH))
    await until(lambda: told.well_said)
    monitor.socket.send(head(OBSERVATION) + b"{}")
    await until(monitor.cut_off)
    assert deserted == [True], "the watch that is left is not somebody who shows pictures"
    assert told.bodies == []

    index = server.announce("wide", CODECS)["video"]
    server.send(index, [b"packet"], 1)
    server.unit(index, b"about", b"data", 2)
    server.unit(index, b"", bytes(LARGEST_UNIT), 3)
    assert server.door.unwatched == 1
    kinds = [watch.socket.recv(LARGEST_UNIT)[0] for _ in range(3)]
    assert kinds == [1, 1, 4], "tracks, tracks, unit: no packet"

    another = connect()
    another.socket.send(head(WATCH))
    await until(watch.cut_off)
    assert told.gone_said == 1, "what the first had open is over before the second begins"
    presence = {"event": "joined", "viewer": "x", "camera": "wide", "utc_ns": 1}
    another.socket.send(head(17) + json.dumps(presence).encode())
    await until(another.cut_off)
    assert presences == []
    await server.stop()


async def test_a_watch_that_nobody_asked_for_is_cut_off(tmp_path: Path, connect: Callable[[], Client]) -> None:
    server = FeedServer(tmp_path / "feed", key_frame=lambda *_: None, presence=lambda _: None)
    await server.start()
    client = connect()
    client.socket.send(head(WATCH))
    await until(client.cut_off)
    await server.stop()


async def test_a_watch_that_does_not_read_costs_nothing_but_itself(
    tmp_path: Path, connect: Callable[[], Client]
) -> None:
    server = FeedServer(tmp_path / "feed", key_frame=lambda *_: None, presence=lambda _: None, watch=Told())
    await server.start()
    client = connect()
    client.socket.send(head(WATCH))
    await until(lambda: server.door.client is not None)
    index = server.announce("wide", CODECS)["video"]
    for _ in range(300):
        server.unit(index, b"", bytes(100_000), 0)
    assert server.door.unwatched > 100
    assert server.dropped == 0, "what monitors missed is counted apart"
    await server.stop()
