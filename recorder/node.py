"""The recorder: cameras in, ticks out. One event loop; what may wait is done elsewhere.

Cameras' packets go to their tracks and, by the way that drops, to the monitor. Four times a second every track is cut
and what came of it is offered to the sealing thread. Nothing here waits for a disk, a viewer or the network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from evidence_store.canonical import Record
from evidence_store.errors import Conflict, Unavailable
from evidence_store.sealing.tick import Message
from recorder.clock import SenderClock
from recorder.delivery import Delivery
from recorder.device import Device
from recorder.feed import FeedServer, Presence
from recorder.fragments import Cut
from recorder.peer import Connection, RtpHeader
from recorder.recovery import Recovered, previous_take, recover
from recorder.sdp import Kind as MediaKind
from recorder.sealer import Closed, Durable, Sealer, Tick
from recorder.sealing_thread import SealingThread
from recorder.spool import Spool, TakeFolder
from recorder.take import Event, Order, State, following
from recorder.ticker import (
    CODEC_OF,
    CameraProfile,
    Refused,
    RoomProfile,
    connection_event,
    describe_init,
    fragment_messages,
    track_event,
)
from recorder.track import Track

log = structlog.get_logger()

TICK_SECONDS = 0.25
DURABLE_WITHIN_NS = 1_500_000_000
"""A last durable tick older than this puts the lamp out of `recording`."""
CLOCK_STEP_NS = 50_000_000
HEARD_WITHIN_NS = 2_000_000_000
LOW_SPACE_BYTES = 2 << 30


@dataclass(slots=True)
class _Meter:
    """What a camera's state shows of its stream."""

    connection: Connection | None = None
    feed: dict[MediaKind, int] = field(default_factory=dict)
    heard_ns: int = 0
    octets: int = 0
    octets_before: int = 0
    bitrate: float = 0.0


class RecorderNode:
    """Owns tracks, ticker, sealing thread and delivery of one room. Implements `recorder.peer.Sink`."""

    def __init__(
        self,
        profile: RoomProfile,
        device: Device,
        spool: Spool,
        feed_path: Path,
        delivery: Callable[[Callable[[], bytes], Callable[[], TakeFolder | None]], Delivery],
        ask_key_frame: Callable[[str], None],
        *,
        boot: str,
    ) -> None:
        """`delivery(heartbeat, is_open)` makes the delivery; `ask_key_frame(camera)` reaches the camera's peer."""
        self.profile = profile
        self._device = device
        self._spool = spool
        self._boot = boot
        self._entries = profile.tracks()
        self._tracks = {entry.id: Track(entry.id, CODEC_OF[entry.kind]) for entry in self._entries}
        self._index = {entry.id: entry.index for entry in self._entries}
        self._of = {(entry.camera, entry.kind): entry.id for entry in self._entries}
        self._meters = {camera.id: _Meter() for camera in profile.cameras}
        self._described: dict[str, Record] = {}
        self._ask_key_frame = ask_key_frame
        self.feed = FeedServer(
            feed_path, key_frame=lambda camera, _kind: ask_key_frame(camera), presence=self._presence
        )
        self.delivery = delivery(self._heartbeat, lambda: None if self._sealer is None else self._sealer.folder)
        self.state = State.IDLE
        self._order: Order | None = None
        self._sealer: Sealer | None = None
        self._sealing: SealingThread | None = None
        self._durable: Durable | None = None
        self._began_ns = 0
        self._began_utc_ns = 0
        self._events: list[Record] = []
        self._refused: Refused | None = None
        self._disk_trouble: str | None = None
        self._clock_offset: int | None = None
        self._recovered: list[Recovered] = []
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    async def start(self) -> None:
        """Closes what a crash left open, goes on with an interview that was being recorded, and starts the tasks."""
        self._sealing = SealingThread(asyncio.get_running_loop(), self._on_durable, self._on_disk)
        self._recovered = await asyncio.to_thread(recover, self._spool, self._device, time.time_ns())
        for each in self._recovered:
            log.warning("take_recovered", take=each.take.take, how=each.how, torn_bytes=each.torn_bytes)
        await self.feed.start()
        if self._spool.recording.exists():
            order = Order.decode(self._spool.recording.read_bytes())
            log.warning("recording_goes_on", after_takes=[each.take.take for each in self._recovered])
            await self._begin(order)
        for work in (self._tick(), self.delivery.run()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Ends the process's work. A take that is being recorded stays open and is closed at the next boot."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.feed.stop()
        if self._sealing is not None:
            await asyncio.to_thread(self._sealing.end)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("recorder_task_died", error=type(error).__name__)
            # Without its ticker a recorder is a lie: the supervisor starts a new one, which closes this take.
            asyncio.get_running_loop().stop()

    # Orders

    async def begin(self, order: Order) -> int:
        """Starts a take; its number, once its start record is durable. Raises Conflict, NoSpace."""
        now = time.monotonic_ns()
        if not any(meter.connection and now - meter.heard_ns < HEARD_WITHIN_NS for meter in self._meters.values()):
            raise Conflict("no camera is sending", code="no-camera")
        await asyncio.to_thread(self._spool.remember_recording, order.encode())
        try:
            return await self._begin(order)
        except BaseException:
            await asyncio.to_thread(self._spool.forget_recording)
            raise

    async def _begin(self, order: Order) -> int:
        self.state = following(self.state, Event.START)
        sealing = self._sealing_thread()
        monotonic_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        try:
            sealer = await sealing.begin(lambda: self._make_sealer(order, monotonic_ns, utc_ns))
        except BaseException:
            self.state = following(self.state, Event.FAILED)
            raise
        self._order, self._sealer, self._durable = order, sealer, None
        self._refused, self._disk_trouble, self._clock_offset = None, None, None
        now = time.monotonic_ns()
        pre_rolls = [begins for track in self._tracks.values() if (begins := track.pre_roll_ns(now)) is not None]
        origin = min([*pre_rolls, now])
        self._began_ns, self._began_utc_ns = origin, time.time_ns() - (now - origin)
        for track in self._tracks.values():
            track.begin(origin, now)
        self._events = [
            {"monotonic": str(origin), "type": "origin", "utc": str(self._began_utc_ns)},
            *(
                connection_event(meter.connection, connected=True)
                for meter in self._meters.values()
                if meter.connection is not None
            ),
        ]
        self.state = following(self.state, Event.STARTED)
        self.delivery.poke()
        log.info("take_started", take=sealer.folder.take)
        return sealer.folder.take

    def _make_sealer(self, order: Order, monotonic_ns: int, utc_ns: int) -> Sealer:
        before = previous_take(self._spool, self._device)
        self._spool.hold_reserve()
        return Sealer.begin(
            self._device, self._spool, order, self._entries, before,
            monotonic_ns=monotonic_ns, utc_ns=utc_ns, boot=self._boot,
        )  # fmt: skip

    async def end(self) -> Closed:
        """Stops and closes the take. Raises Conflict; NoSpace, OSError where the close could not be written."""
        self.state = following(self.state, Event.STOP)
        try:
            now = time.monotonic_ns()
            for track in self._tracks.values():
                track.end(now)
            closing = self._gather(now, {name: track.cut(now) for name, track in self._tracks.items()})
            if self._refused is not None:
                closing.events[:0] = self._refused.declaration(self._disk_trouble or "sealer-behind")
                self._refused = None
            closed = await self._sealing_thread().close(closing)
            await asyncio.to_thread(self._spool.forget_recording)
            return closed
        finally:
            self.state = following(self.state, Event.CLOSED)
            self._order, self._sealer = None, None
            self.delivery.poke()

    def _sealing_thread(self) -> SealingThread:
        if self._sealing is None:
            raise Unavailable("the recorder is not running yet", code="room-not-ready")
        return self._sealing

    # Ticks

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + TICK_SECONDS, time.monotonic() - TICK_SECONDS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic_ns()
            self._measure()
            for entry in self._entries:
                if self._tracks[entry.id].wants_key_frame:
                    self._ask_key_frame(entry.camera)
            cuts = {name: track.cut(now) for name, track in self._tracks.items()}
            if self.state is State.RECORDING:
                self._offer(self._gather(now, cuts))

    def _offer(self, tick: Tick) -> None:
        refused = self._refused
        if refused is None:
            if not self._sealing_thread().offer(tick):
                self._refused = Refused(tick.utc_ns, tick.utc_ns, [])
                self._refused.add(tick)
            return
        # What was refused is declared by the first tick that is taken again.
        declared = refused.declaration(self._disk_trouble or "sealer-behind") + tick.events
        if self._sealing_thread().offer(Tick(tick.messages, declared, tick.monotonic_ns, tick.utc_ns)):
            self._refused = None
        else:
            refused.add(tick)

    def _gather(self, now: int, cuts: dict[str, Cut]) -> Tick:
        """What the tracks gave, as one tick."""
        utc = time.time_ns()
        messages: list[Message] = []
        events, self._events = self._events, []
        for entry in self._entries:
            cut = cuts[entry.id]
            for each in cut.fragments:
                messages += fragment_messages(entry, each)
                if each.init is not None:
                    self._described[entry.id] = describe_init(each.init)
            events += [track_event(entry, event, self._began_utc_ns) for event in cut.events]
        offset = utc - now
        if self._clock_offset is not None and abs(offset - self._clock_offset) > CLOCK_STEP_NS:
            events.append({"from": str(now + self._clock_offset), "to": str(utc), "track": None, "type": "clock-step"})
        self._clock_offset = offset
        return Tick(messages, events, now, utc)

    def _measure(self) -> None:
        for meter in self._meters.values():
            gained = (meter.octets - meter.octets_before) * 8 / TICK_SECONDS
            meter.bitrate += (gained - meter.bitrate) * 0.2
            meter.octets_before = meter.octets

    # The sealing thread's word, on the loop

    def _on_durable(self, durable: Durable, segment_ended: bool) -> None:
        self._durable = durable
        if segment_ended or durable.tick == 0:
            self.delivery.poke()

    def _on_disk(self, trouble: str | None) -> None:
        if trouble != self._disk_trouble:
            log.error("spool_trouble", code=trouble) if trouble else log.warning("spool_writes_again")
        self._disk_trouble = trouble

    def _heartbeat(self) -> bytes:
        head = None if self._durable is None else self._durable.head
        return self._device.heartbeat(self._spool.highest_take(), head, time.time_ns())

    # Sink

    def connected(self, connection: Connection) -> None:
        meter = self._meters.get(connection.camera)
        if meter is None:
            return
        meter.connection = connection
        meter.feed = self.feed.announce(connection.camera, connection.codecs)
        now, sender = time.monotonic_ns(), SenderClock()
        for kind in connection.codecs:
            if (track := self._track(connection, kind)) is not None:
                track.connect(connection.id, now, sender)
        self._events.append(connection_event(connection, connected=True))

    def rtp(
        self,
        connection: Connection,
        kind: MediaKind,
        header: RtpHeader,
        payload: bytes,
        packet: bytes,
        arrival_ns: int,
    ) -> None:
        track = self._track(connection, kind)
        if track is not None:
            track.rtp(header, payload, arrival_ns)
        meter = self._meters[connection.camera]
        meter.heard_ns = arrival_ns
        meter.octets += len(packet)
        if (index := meter.feed.get(kind)) is not None:
            self.feed.send(index, packet, arrival_ns)

    def sender_report(self, connection: Connection, kind: MediaKind, ntp: int, rtp: int, arrival_ns: int) -> None:
        track = self._track(connection, kind)
        if track is not None:
            track.sender_report(ntp, rtp, arrival_ns)
        if (index := self._meters[connection.camera].feed.get(kind)) is not None:
            self.feed.report(index, ntp, rtp, arrival_ns)

    def disconnected(self, connection: Connection, reason: str) -> None:
        meter = self._meters.get(connection.camera)
        if meter is None or meter.connection is None or meter.connection.id != connection.id:
            return
        meter.connection, meter.feed = None, {}
        self.feed.withdraw(connection.camera)
        now = time.monotonic_ns()
        for kind in connection.codecs:
            if (track := self._track(connection, kind)) is not None:
                track.disconnect(now)
        self._events.append(connection_event(connection, connected=False, reason=reason))

    def _track(self, connection: Connection, kind: MediaKind) -> Track | None:
        name = self._of.get((connection.camera, kind))
        return None if name is None else self._tracks[name]

    def _presence(self, presence: Presence) -> None:
        self._events.append(
            {
                "act": presence.event, "camera": presence.camera, "type": "viewer",
                "utc": str(presence.utc_ns), "viewer": presence.viewer,
            }
        )  # fmt: skip

    # What the room shows

    def alarms(self, now: int) -> list[str]:
        """Codes of what is wrong now."""
        found = []
        if self._disk_trouble is not None:
            found.append(self._disk_trouble)
        if self._spool.free_bytes() < LOW_SPACE_BYTES:
            found.append("spool-low")
        if self.delivery.state.trouble is not None:
            found.append(self.delivery.state.trouble)
        if self._sealer is not None and self.delivery.state.test_failed == self._sealer.folder.take:
            found.append("test-opening-failed")
        if self.state is State.RECORDING and not self._is_durable(now):
            found.append("not-durable")
        return found

    def _is_durable(self, now: int) -> bool:
        newest = self._began_ns if self._durable is None else self._durable.monotonic_ns
        return now - newest < DURABLE_WITHIN_NS

    def describe(self) -> Record:
        """The room's state, for whoever may ask. Ages in seconds; moments in nanoseconds UTC as strings."""
        now = time.monotonic_ns()
        recording = self.state is State.RECORDING
        durable_age = None if self._durable is None else (now - self._durable.monotonic_ns) / 1e9
        return {
            "alarms": self.alarms(now),
            "cameras": [self._describe_camera(camera, now) for camera in self.profile.cameras],
            "durable": recording and self._durable is not None and self._is_durable(now),
            "durable_age": durable_age if recording else None,
            "durable_tick": None if self._durable is None else self._durable.tick,
            "feed_dropped": self.feed.dropped,
            "highest_take": self._spool.highest_take(),
            "interview": None if self._order is None else self._order.interview.hex(),
            "room": self.profile.room,
            "since": str(self._began_utc_ns) if recording else None,
            "spool_free": self._spool.free_bytes(),
            "state": self.state.value,
            "take": None if self._sealer is None else self._sealer.folder.take,
            "test_opened": self._sealer is not None and self.delivery.state.test_opened == self._sealer.folder.take,
            "undelivered": self.delivery.state.undelivered,
        }

    def _describe_camera(self, camera: CameraProfile, now: int) -> Record:
        meter = self._meters[camera.id]
        silence = None if not meter.heard_ns else (now - meter.heard_ns) / 1e9
        described = self._described.get(camera.video or "", {})
        return {
            "bitrate": round(meter.bitrate),
            "connected": meter.connection is not None,
            "height": described.get("height"),
            "id": camera.id,
            "silence": silence,
            "width": described.get("width"),
        }
