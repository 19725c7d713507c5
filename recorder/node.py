"""The recorder: cameras in, ticks out. One event loop; what may wait is done elsewhere.

Cameras' packets go to their tracks and, by the way that drops, to the monitor. Four times a second every track is cut
and what came of it is offered to the sealing thread. Nothing here waits for a disk, a viewer or the network.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog

from evidence_store.canonical import Record
from evidence_store.errors import InvalidInput, NoSpace, Unavailable
from recorder.cameras import Cameras
from recorder.checks import Standing, alarms_of
from recorder.cutter import Cutter
from recorder.delivery import Delivery
from recorder.device import Device
from recorder.key_pool import KeyPool
from recorder.known_cameras import KnownCameras, Marks
from recorder.observed import Observed
from recorder.readiness import Readiness
from recorder.recovery import Recovery, previous_take, recover
from recorder.sealer import Closed, Durable, Sealer
from recorder.sealing_thread import SealingThread
from recorder.spool import Spool
from recorder.take import Event, Order, State, following
from recorder.ticker import RoomProfile

log = structlog.get_logger()

TICK_SECONDS = 0.25
DURABLE_WITHIN_NS = 1_500_000_000
"""A last durable tick older than this puts the lamp out of `recording`."""
TEND_SECONDS = 1.0

_T = TypeVar("_T")


def end_process() -> None:
    """Ends this process here and now: all that counts is on the disk, and the supervisor starts another one."""
    os._exit(70)


class RecorderNode:
    """Owns tracks, ticker, sealing thread and delivery of one room. `cameras` is the sink of their packets."""

    def __init__(
        self,
        profile: RoomProfile,
        device: Device,
        spool: Spool,
        feed_path: Path,
        delivery: Callable[[Callable[[], bytes]], Delivery],
        ask_key_frame: Callable[[str], None],
        *,
        boot: str,
        keys: KeyPool | None = None,
        clock_set: Callable[[], bool | None] = lambda: None,
        on_failure: Callable[[], None] = end_process,
        watched: bool = False,
    ) -> None:
        """`delivery(heartbeat)` makes the delivery; `ask_key_frame(camera)` reaches the camera's peer. `watched`: a
        process watches over content, and its absence is an alarm.

        `keys`: for starts without a store; None where there are none. `clock_set()`: whether this machine's clock
        follows a time service, None where that is not asked.
        `on_failure()`, from any thread: what seals, cuts or delivers is no more, and the process has to end.
        """
        self.profile = profile
        self._device = device
        self._spool = spool
        self._boot = boot
        self._keys = keys
        self._on_failure = on_failure
        self._entries = profile.tracks()
        self.observed = Observed(self._entries, self._tell, expected=watched)
        keeping = [camera.id for camera in profile.cameras if camera.keeps_certificate]
        self._known = KnownCameras(spool.folder.parent / "cameras.json", keeping)
        self.cameras = Cameras(profile, self._entries, feed_path, ask_key_frame, self._tell, self._known, self.observed)
        self._cutter = Cutter(self._entries, self.cameras, ask_key_frame)
        self.delivery = delivery(self._heartbeat)
        self.readiness = Readiness(profile, self.cameras, self.delivery.state, clock_set)
        self.state = State.IDLE
        self._order: Order | None = None
        self._sealer: Sealer | None = None
        self._sealing: SealingThread | None = None
        self._durable: Durable | None = None
        self._disk_trouble: str | None = None
        self._wanted: Order | None = None
        self._recovery = Recovery()
        self._standing = Standing()
        self._mending = asyncio.Lock()
        self._cutting = asyncio.Lock()
        """Held while the tracks are cut one after the other: no take begins or ends halfway through."""
        self._tasks: list[asyncio.Task[None]] = []
        self._orders: set[asyncio.Task[Any]] = set()

    # Life

    async def start(self) -> None:
        """Closes what a crash left open, goes on with an interview that was being recorded, and starts the tasks.

        A full disk or a damaged take keeps it from neither: those are alarms.
        """
        loop = asyncio.get_running_loop()
        self._sealing = SealingThread(loop, self._on_durable, self._on_disk, self._failed)
        self._recovery = await asyncio.to_thread(recover, self._spool, self._device, time.time_ns())
        self.readiness.free = await asyncio.to_thread(self._spool.free_bytes)
        await self.cameras.feed.start()
        self._wanted = await asyncio.to_thread(self._remembered)
        await self._go_on()
        for work in (self._tick(), self._tend(), self.delivery.run()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Ends the process's work. A take that is being recorded stays open and is closed at the next boot."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._orders, return_exceptions=True)
        await self.cameras.feed.stop()
        if self._sealing is not None:
            await asyncio.to_thread(self._sealing.end)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        # Without its ticker or sealer a recorder is a lie: the supervisor starts a new one, which closes this take.
        log.critical("recorder_part_died", error=type(error).__name__)
        self._on_failure()

    async def _tend(self) -> None:
        """Looks after the disk, and after what a full one has left undone."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            try:
                self.readiness.free = await asyncio.to_thread(self._spool.free_bytes)
                await self._mend()
            except OSError as error:
                self.readiness.free = 0
                log.error("spool_does_not_answer", errno=error.errno)
            await self._known.keep()
            self._standing.seen(self.alarms(time.monotonic_ns()), time.time_ns())

    async def _mend(self) -> None:
        if self.state is not State.IDLE:
            return
        if self._recovery.full:
            async with self._mending:
                self._recovery = await asyncio.to_thread(recover, self._spool, self._device, time.time_ns())
            self.delivery.poke()
        elif self._wanted is None:
            self._disk_trouble = None
        await self._go_on()

    def _remembered(self) -> Order | None:
        """What was being recorded when the process ended."""
        if not self._spool.recording.exists():
            return None
        try:
            return Order.decode(self._spool.recording.read_bytes())
        except InvalidInput as error:
            log.error("recording_not_readable", code=error.code)
            self._spool.forget_recording()
            return None

    async def _go_on(self) -> None:
        """With the interview that the process found; tried again until there is space, or somebody presses stop."""
        if self._wanted is None or self.state is not State.IDLE:
            return
        try:
            await self._begin(self._wanted, [])
            log.warning("recording_goes_on")
        except (Unavailable, OSError) as error:
            log.error("recording_cannot_go_on", error=type(error).__name__)

    async def _whole(self, work: Coroutine[Any, Any, _T]) -> _T:
        """To its end, also when whoever asked goes away: no take is left half begun or half closed."""
        task = asyncio.ensure_future(work)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)
        return await asyncio.shield(task)

    # Orders

    async def begin(self, order: Order) -> int:
        """Starts a take; its number, once its start record is durable. Raises Conflict, NoSpace, OSError.

        With no camera too: the gap is then declared from the first tick, and media is kept from the moment it comes.
        What the checks say against a start goes into the journal, and holds up nothing.
        """
        following(self.state, Event.START)
        return await self._whole(self._begin(order, self.readiness.failed_checks(time.monotonic_ns())))

    async def begin_alone(self) -> int:
        """Starts a take with no other service there: an interview of its own, under a key that the store released
        beforehand. Raises what `begin` raises, and Unavailable `no-key` where there never was one."""
        following(self.state, Event.START)
        if self._keys is None:
            raise Unavailable("this room has no keys of its own", code="no-key")
        said: Record = {"act": "start", "by": "room", "emergency": True, "type": "order"}
        return await self._whole(self._begin(None, [said, *self.readiness.failed_checks(time.monotonic_ns())]))

    async def _begin(self, order: Order | None, opening: list[Record]) -> int:
        self.state = following(self.state, Event.START)
        if order is None or self._wanted is not order:
            self._wanted = None
        monotonic_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        try:
            async with self._mending:
                if order is None:
                    order = await asyncio.to_thread(self._own_key)
                await asyncio.to_thread(self._spool.remember_recording, order.encode())
                sealer = await self._sealing_thread().begin(lambda: self._make_sealer(order, monotonic_ns, utc_ns))
        except BaseException as error:
            try:
                if self._wanted is None:
                    await asyncio.to_thread(self._spool.forget_recording)
            finally:
                self._disk_trouble = getattr(error, "code", None) if isinstance(error, NoSpace) else None
                self.state = following(self.state, Event.FAILED)
            raise
        async with self._cutting:
            try:
                self._cutter.begin([*opening, *self.cameras.present(), *self.observed.present()])
                self._known.told()
            except Exception as error:
                self._failed(error)
                raise
            self._order, self._wanted, self._sealer, self._durable = order, None, sealer, None
            self._disk_trouble = None
            self.state = following(self.state, Event.STARTED)
        self.delivery.poke()
        log.info("take_started", take=sealer.folder.take)
        return sealer.folder.take

    def _own_key(self) -> Order:
        if self._keys is None:
            raise Unavailable("this room has no keys of its own", code="no-key")
        return self._keys.spend()

    def _make_sealer(self, order: Order, monotonic_ns: int, utc_ns: int) -> Sealer:
        # In the sealing thread. A number that was given in vain, or a close that found no room, comes first.
        self._recovery = recover(self._spool, self._device, utc_ns)
        before = previous_take(self._spool, self._device)
        self._spool.hold_reserve()
        return Sealer.begin(
            self._device, self._spool, order, self._entries, before,
            monotonic_ns=monotonic_ns, utc_ns=utc_ns, boot=self._boot,
        )  # fmt: skip

    def confirm_camera(self, camera: str, marks: Marks) -> None:
        """Somebody has looked: from here on the camera is known by these marks. Raises NotFound, Conflict."""
        for event in self._known.confirm(camera, marks, time.time_ns()):
            self._tell(event)

    async def end(self, by: str | None = None) -> Closed:
        """Stops and closes the take. `by`: what the journal says of who did, None where the store hears it otherwise.
        Raises Conflict; NoSpace, OSError where the close could not be written: then the
        device closes it as soon as there is space."""
        if self._wanted is not None and self.state is State.IDLE:
            self._wanted = None
            await asyncio.to_thread(self._spool.forget_recording)
        return await self._whole(self._end(by))

    async def _end(self, by: str | None) -> Closed:
        self.state = following(self.state, Event.STOP)
        if by is not None:
            self._cutter.events.append({"act": "stop", "by": by, "type": "order"})
        try:
            async with self._cutting:
                # Held while it waits too: a tick in between would cut what belongs to this take's last one.
                await self._cutter.units_end()
                closing = self._cutter.end()
            return await self._sealing_thread().close(closing)
        except (Unavailable, OSError):
            self._recovery.full = True
            raise
        except Exception as error:
            self._failed(error)
            raise
        finally:
            try:
                # Even where there was no room for the close: nobody wants this recording to go on after a restart.
                await asyncio.to_thread(self._spool.forget_recording)
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
            for meter in self.cameras.meters.values():
                meter.measure(TICK_SECONDS)
            async with self._cutting:
                recording = self.state is State.RECORDING
                moment, cuts = await self._cutter.cut()
                if recording:
                    tick = self._cutter.gather(moment, cuts)
                    self._cutter.offer(tick, self._sealing_thread().offer, self._disk_trouble or "sealer-behind")

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

    def _tell(self, event: Record) -> None:
        """Into the journal of the take that runs; between takes there is none, and a start tells what holds then."""
        if self.state is not State.IDLE:
            self._cutter.events.append(event)
            if self.state is State.RECORDING and event["type"] == "camera":
                self._known.told()

    # What the room shows

    def alarms(self, now: int) -> list[str]:
        """Codes of what is wrong now."""
        found = []
        if self._disk_trouble is not None:
            found.append(self._disk_trouble)
        if self.readiness.space_low():
            found.append("spool-low")
        if self._recovery.left:
            found.append("take-left-open")
        if self.delivery.state.trouble is not None:
            found.append(self.delivery.state.trouble)
        if self._sealer is not None and self.delivery.state.test_failed == self._sealer.folder.take:
            found.append("test-opening-failed")
        if self._wanted is not None or (self.state is State.RECORDING and not self._is_durable(now)):
            found.append("not-durable")
        if self.delivery.state.device_key_away:
            found.append("device-key-away")
        if self._known.strangers:
            found.append("camera-changed")
        if self.observed.down(now):
            found.append("watch-down")
        if self._keys is not None and not self._keys.count:
            found.append("key-pool-empty")
        if self.state is State.RECORDING:
            found += alarms_of(self.readiness.seen(now))
        return found

    def _is_durable(self, now: int) -> bool:
        newest = self._cutter.began_ns if self._durable is None else self._durable.monotonic_ns
        return now - newest < DURABLE_WITHIN_NS

    def describe(self) -> Record:
        """The room's state, for whoever may ask. Ages in seconds; moments in nanoseconds UTC as strings."""
        now = time.monotonic_ns()
        recording = self.state is State.RECORDING
        order = self._order or self._wanted
        minutes = self.readiness.minutes_left()
        durable_age = None if self._durable is None else (now - self._durable.monotonic_ns) / 1e9
        return {
            "alarms": (alarms := self.alarms(now)),
            "alarms_since": {code: str(at) for code, at in self._standing.seen(alarms, time.time_ns()).items()},
            "cameras": [
                self.cameras.meters[camera.id].describe(now, self._cutter.described.get(camera.video or "", {}))
                | {"known": self._known.describe(camera.id)}
                | {"heard": seen.heard, "picture": seen.picture, "sound": seen.sound}
                for camera, seen in zip(self.profile.cameras, self.readiness.seen(now), strict=True)
            ],
            "checks": [] if self.state is not State.IDLE else self.readiness.checks(now),
            "durable": recording and self._durable is not None and self._is_durable(now),
            "durable_age": durable_age if recording else None,
            "durable_tick": None if self._durable is None else self._durable.tick,
            "feed_dropped": self.cameras.feed.dropped,
            "highest_take": self._spool.highest_take(),
            "interview": None if order is None else order.interview.hex(),
            "observed": self.observed.describe(recording=recording),
            "room": self.profile.room,
            "since": str(self._cutter.began_utc_ns) if recording else None,
            "keys": None if self._keys is None else self._keys.count,
            "spool_free": self.readiness.free,
            "spool_minutes": None if minutes is None else round(minutes),
            "state": self.state.value,
            "take": None if self._sealer is None else self._sealer.folder.take,
            "test_opened": self._sealer is not None and self.delivery.state.test_opened == self._sealer.folder.take,
            "undelivered": self.delivery.state.undelivered,
        }
