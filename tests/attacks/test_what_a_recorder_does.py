"""Attacks on a room node: stolen, killed, filled up, flooded, fed by a stranger, left alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from starlette.applications import Starlette

from api.routes.whip import whip_routes
from evidence_store.canonical import Record, parse
from evidence_store.custody import Verb
from evidence_store.revoking import Revoking
from evidence_store.sealing import journal
from recorder.aiortc_hooks import IceSettings
from recorder.feed import Presence
from recorder.feed_server import FeedServer
from recorder.peer import Connection
from recorder.recovery import recover
from recorder.sdp import LIMIT
from recorder.take import Order, State
from recorder.ticker import CameraProfile, RoomProfile
from recorder.whip import WhipEndpoint
from tests.attacks.place import Place, expect
from tests.attacks.test_stolen_recorder import Secrets, everything, opens, segment_ticks
from tests.clients.offers import offer
from tests.house import BEGAN, TICK_NS, begin, crash, record, tick, until
from tests.monitor_room.test_feed import CODECS, Asked
from tests.recorder.room import running
from tests.recorder.walked import walk

KEEPING = RoomProfile("demo", (CameraProfile("wide", "wide-video", "wide-audio", keeps_certificate=True),))


def manifest(place: Place, order: Order) -> Record:
    house = place.house
    assert house.store.sealing.seal(order.interview.hex())
    return parse(house.store.book.vault.get(f"interviews/{order.interview.hex()}/manifest-001.json"))


def test_16_recorders_disk_stolen_after_seal(place: Place) -> None:
    """Neither picture nor sound nor what opens them is on it; and once it is said to be stolen, it is not believed."""
    house = place.house
    spool, order = house.spool(), house.interview()
    take = record(house, spool, order)
    secrets = Secrets.of(house, order, take, 3)
    for path, data in everything(house.room):
        assert b"picture 1 " not in data, path.name
        assert b"sound 1 " not in data, path.name
        assert secrets.found_in(data) == set(), path.name
    house.deliver(take)
    Revoking(house.store.book, house.store.authority).revoke(take.enrolment.hex(), "Stjålet")
    later = house.interview()
    house.deliver(record(house, spool, later, ticks=2))
    assert "take-after-revocation" in place.alarms()
    assert [each["doubtful"] for each in manifest(place, order)["takes"]] == [None]
    assert [each["doubtful"] for each in manifest(place, later)["takes"]] == [1]


def test_17_live_recorder_stolen_with_its_memory(place: Place) -> None:
    """Its ratchet and every key that it ever had in its hands open the segment of now, and none before."""
    house = place.house
    sealer, held = begin(house, house.spool(), house.interview()), []
    for t in range(19):
        sealer.write(tick(t))
        held += [keys for keys in sealer._keys.values() if keys not in held]
    ticks = segment_ticks(house, sealer.folder)
    expect(len(held) == len(ticks) == 3, "three segments")
    expect(opens(held[2], sealer.start_hash, ticks[2]), "the segment of now, by design")
    for keys in (*held, *(type(sealer._ratchet)(sealer.start_hash, _copy(sealer), i).next_segment() for i in range(3))):
        assert not any(opens(keys, sealer.start_hash, each) for each in ticks[:2])
    sealer.forget()


def _copy(sealer: Any) -> bytearray:
    return bytearray(sealer._ratchet._secret)


def test_22_kill_9_or_power_cut_mid_segment(place: Place) -> None:
    """In the middle of a tick: at most that one is lost, the hole is declared, and the interview goes on."""
    house = place.house
    spool, order = house.spool(), house.interview()
    take = crash(house, spool, order, ticks=11)
    with take.segment(1).open("ab") as file:
        file.write(b"half a tick")
    recovered = recover(spool, house.device(), BEGAN + 20 * TICK_NS)
    assert recovered.left == []
    close, _ = journal.decode_envelope(take.close.read_bytes())
    assert (close["how"], close["last"]) == ("crashed", {"i": 1, "t": 10})
    again = record(house, spool, order, ticks=3, began=BEGAN + 20 * TICK_NS)
    for each in (take, again):
        house.deliver(each)
    gaps = [(each["take"], each["track"], each["reason"]) for each in manifest(place, order)["gaps"]]
    assert (take.take, None, "crashed") in gaps


async def test_23_disk_full_store_down_network_cut(place: Place) -> None:
    house = place.house
    spool, order = house.spool(), house.interview()
    async with running(house, spool) as room, away(room.client) as store:
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 1)
        spool.limit_bytes = spool.used_bytes
        await until(lambda: room.node._cutter.refused is not None)
        alarms = room.node.alarms(time.monotonic_ns())
        assert "spool-full" in alarms
        assert "store-out-of-reach" in alarms
        spool.limit_bytes = None
        await until(lambda: room.node._cutter.refused is None)
        assert room.failures == 0
        await room.node.end()
        store.clear()
        *_, take = spool.takes()
        await _delivered(room, take.close)
    gaps = [each["reason"] for each in walk(house, take, order).gaps]
    assert "spool-full" in gaps
    house.deliver(take)
    assert len([each for each in house.custody(Verb.GAP) if each.event.details["reason"] == "spool-full"]) == 1


@contextlib.asynccontextmanager
async def away(client: httpx.AsyncClient) -> AsyncIterator[set[str]]:
    """While the set that is given has something in it, nobody answers this client."""
    there, gone = client._transport, {"gone"}

    async def answer(request: httpx.Request) -> httpx.Response:
        if gone:
            raise httpx.ConnectError("nobody is there", request=request)
        return await there.handle_async_request(request)

    client._transport = httpx.MockTransport(answer)
    yield gone


async def _delivered(room: Any, close: Any) -> None:
    with contextlib.suppress(TimeoutError):
        await until(lambda: close.with_name("close.json.ack").exists())
    assert room.failures == 0
    assert close.with_name("close.json.ack").exists(), "it is delivered when the store is back"


async def test_24_viewer_flood_huge_sdp(place: Place) -> None:
    async with _feed(place) as server:
        index = server.announce("wide", CODECS)["video"]
        for _ in range(40):
            await _ask_and_never_read(place, index)
        assert len(server._monitors) <= 4, "more than so many are not let in"
        await until(lambda: server.wanted)
        for _ in range(200):
            server.send(index, [bytes(1200)] * 64, 0)
        await asyncio.sleep(0.05)
        assert server.dropped > 0, "who does not read loses what he does not read, and nobody waits"
    async with running(place.house, place.house.spool()) as room:
        whip = WhipEndpoint(
            base_url="http://recorder.test", token_of={"wide": "token"}.get, sink=room.node.cameras,
            ice=IceSettings(["127.0.0.1"], None),
        )  # fmt: skip
        huge, app = Huge(), httpx.ASGITransport(Starlette(routes=whip_routes(whip)))
        headers = {"Content-Type": "application/sdp", "Authorization": "Bearer token"}
        async with httpx.AsyncClient(transport=app, base_url="http://recorder.test") as client:
            reply = await client.post("/whip/wide", content=huge, headers=headers)
            padded = offer("obs") + "a=x-nothing:" + "a" * LIMIT + "\r\n"
            large = await client.post("/whip/wide", content=padded, headers=headers)
        await whip.stop()
        assert (reply.status_code, large.status_code) == (413, 413)
        assert huge.given < 4 * LIMIT, "it is not read to its end"
        assert room.failures == 0


@contextlib.asynccontextmanager
async def _feed(place: Place) -> AsyncIterator[FeedServer]:
    server = Asked().server(place.folder / "feed")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Huge:
    """Ten megabytes that are no offer. `given`: how much of them was asked for."""

    given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.given < 10_000_000:
            self.given += 8192
            yield b"a" * 8192


async def _ask_and_never_read(place: Place, index: int) -> None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place.ending.append(made.close)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, str(place.folder / "feed"))
    with contextlib.suppress(OSError):
        made.send(bytes((20,)) + index.to_bytes(2, "big") + bytes(8) + b"\1")
    await asyncio.sleep(0)


async def test_33_a_stolen_camera_token_injects_another_picture(place: Place) -> None:
    """First under another certificate from the camera's own address, then from elsewhere. It is recorded, and told."""
    house = place.house
    spool, order = house.spool(), house.interview()
    async with running(house, spool, profile=KEEPING) as room:
        cameras = room.node.cameras
        cameras.connected(Connection("c1", "wide", "sha-256 AB", "10.0.0.7:5000", {}))
        await room.node.begin(order)
        expect("camera-changed" not in room.node.alarms(0), "it is the first")
        for number, (fingerprint, address) in enumerate((("66", "10.0.0.7:6"), ("AB", "10.6.6.6:6")), start=2):
            cameras.connected(Connection(f"c{number}", "wide", f"sha-256 {fingerprint}", address, {}))
            assert "camera-changed" in room.node.alarms(0)
            expect(cameras.meters["wide"].connection is not None, "it is recorded")
            assert room.node.state is State.RECORDING
            cameras.connected(Connection(f"t{number}", "wide", "sha-256 AB", "10.0.0.7:5000", {}))
            expect("camera-changed" not in room.node.alarms(0), "the true one is back")
        await room.node.end()
    *_, take = spool.takes()
    events = [each for ticks in walk(house, take, order).ticks for each in ticks["events"]]
    told = [each["differs"] for each in events if each["type"] == "camera" and each["act"] == "changed"]
    assert told == [["fingerprint"], ["address"]]
    house.deliver(take)
    said: list[Mapping[str, Any]] = [each.event.details for each in house.custody(Verb.CAMERA_CHANGED)]
    assert [(each["address"], each["known"]["address"]) for each in said] == [
        ("10.0.0.7", "10.0.0.7"), ("10.6.6.6", "10.0.0.7"),
    ]  # fmt: skip


async def test_36_api_dies_mid_interview(place: Place) -> None:
    """The recording goes on; who came and went while nobody could be told is in custody when the store is back."""
    house = place.house
    spool, order = house.spool(), house.interview()
    async with running(house, spool) as room, away(room.client) as store:
        await room.node.begin(order)
        for event in ("joined", "left"):
            room.node.cameras._told(Presence(event, house.account, "wide", time.time_ns()))
        with contextlib.suppress(TimeoutError):
            await until(lambda: room.failures or room.node.delivery.state.trouble is not None)
        assert room.failures == 0
        before = room.node.describe()["durable_tick"] or 0
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > before + 1)
        await room.node.end()
        store.clear()
        *_, take = spool.takes()
        await _delivered(room, take.close)
    for verb in (Verb.VIEWER_JOINED, Verb.VIEWER_LEFT):
        assert [each.event.actor.name for each in house.custody(verb)] == ["Ida Optager"]
