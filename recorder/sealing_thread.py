"""Runs the sealer in a thread that the event loop never waits for.

The queue between them is bounded in time (MAX_WAITING ticks of a quarter of a second). While the disk is full or
failing, the oldest tick is tried again and again and the others wait in memory; what no longer fits in the queue is
refused at `offer`, and the caller declares it as a gap. Whatever was sealed before stays sealed. When the disk is back,
ticks that waited are made durable several at a time.
"""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import structlog

from evidence_store.errors import Conflict, Unavailable
from recorder.sealer import Closed, Durable, Sealer, Tick, gap_record

MAX_WAITING: Final = 80
"""20 seconds of quarter-second ticks."""
RETRY_SECONDS: Final = 0.5

log = structlog.get_logger()


class SealingThread:
    """Owns one thread for the life of the recorder process. All public methods are for the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_durable: Callable[[Durable, bool], None],
        on_disk: Callable[[str | None], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`on_durable(durable, segment_ended)` and `on_disk(trouble or None)` are called on `loop`.

        `on_failure(error)` is called in the thread, which then is no more: nothing is sealed from there on, so the
        process has to end. What is durable is closed at the next boot.
        """
        self._loop = loop
        self._on_durable = on_durable
        self._on_disk = on_disk
        self._on_failure = on_failure
        self._wake = threading.Condition()
        self._ticks: collections.deque[Tick] = collections.deque()
        self._begin: tuple[Callable[[], Sealer], Future[Sealer]] | None = None
        self._close: tuple[Tick, Future[Closed]] | None = None
        self._ending = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self._thread.start()

    def begin(self, make: Callable[[], Sealer]) -> asyncio.Future[Sealer]:
        """Begins a take: `make` runs in the thread. The future fails with what it raised."""
        future: Future[Sealer] = Future()
        with self._wake:
            self._begin = (make, future)
            self._wake.notify()
        return asyncio.wrap_future(future, loop=self._loop)

    def offer(self, tick: Tick) -> bool:
        """Never waits. False where MAX_WAITING ticks wait already: the tick was not taken."""
        with self._wake:
            if len(self._ticks) >= MAX_WAITING:
                return False
            self._ticks.append(tick)
            self._wake.notify()
        return True

    def close(self, closing: Tick) -> asyncio.Future[Closed]:
        """Seals what waits, then `closing`, then the close. On a full disk what waits is declared lost instead."""
        future: Future[Closed] = Future()
        with self._wake:
            self._close = (closing, future)
            self._wake.notify()
        return asyncio.wrap_future(future, loop=self._loop)

    def end(self) -> None:
        """Stops the thread. A take that is still open stays open: boot recovery closes it."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        self._thread.join(timeout=5)
        for asked in (self._begin, self._close):
            if asked is not None:
                asked[1].cancel()

    def _tell(self, callback: Callable[..., None], *values: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *values)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - a recorder that seals nothing must not look alive
            self._on_failure(error)

    def _work(self) -> None:
        sealer: Sealer | None = None
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._ending or self._begin or self._close or self._ticks)
                if self._ending:
                    break
                begin, self._begin = self._begin, None
                ticks = [] if begin else list(self._ticks)
                close = self._close if not ticks and not begin else None
            if begin:
                sealer = self._run_begin(*begin)
            elif ticks and sealer is not None:
                self._run_ticks(sealer, ticks)
            elif ticks:
                # A tick without a take: its begin failed, and the caller has been told so.
                self._ticks.popleft()
            elif close is not None:
                self._run_close(sealer, *close)
                sealer = None
        if sealer is not None:
            sealer.forget()

    def _run_begin(self, make: Callable[[], Sealer], future: Future[Sealer]) -> Sealer | None:
        if not future.set_running_or_notify_cancel():
            return None
        try:
            sealer = make()
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever asked
            future.set_exception(error)
            return None
        future.set_result(sealer)
        return sealer

    def _run_ticks(self, sealer: Sealer, waiting: list[Tick]) -> None:
        # The first of a take by itself: the start is delivered as soon as it is durable. And one by one on a disk that
        # has failed: where there is room for little, little goes in.
        alone = len(waiting) == 1 or self._failing or sealer.last is None
        try:
            if alone:
                self._taken(sealer, 1, sealer.write(waiting[0]))
                return
            for count, durable in sealer.catch_up(waiting):
                self._taken(sealer, count, durable)
                if self._ending:
                    return
        except (Unavailable, OSError) as error:
            self._failing = True
            if not alone:
                return
            code = error.code if isinstance(error, Unavailable) else "spool-failing"
            self._tell(self._on_disk, code)
            with self._wake:
                self._wake.wait_for(lambda: self._ending or self._close is not None, timeout=RETRY_SECONDS)
                if self._close is not None and self._ticks:
                    closing, future = self._close
                    alive = self._ticks[0].utc_ns if sealer.last is None else sealer.last.utc_ns
                    events = [gap_record(alive, self._ticks[-1].utc_ns, code)]
                    events += [event for each in self._ticks for event in each.events]
                    events += closing.events
                    self._close = (Tick(closing.messages, events, closing.monotonic_ns, closing.utc_ns), future)
                    self._ticks.clear()

    def _taken(self, sealer: Sealer, count: int, durable: Durable) -> None:
        for _ in range(count):
            self._ticks.popleft()
        self._failing = False
        self._tell(self._on_disk, None)
        self._tell(self._on_durable, durable, sealer.segment_ended())

    def _run_close(self, sealer: Sealer | None, closing: Tick, future: Future[Closed]) -> None:
        with self._wake:
            self._close = None
        # Whoever asked may have gone; the take is closed all the same.
        future.set_running_or_notify_cancel()
        if sealer is None:
            _fail(future, Conflict("no take is open", code="room-idle"))
            return
        try:
            closed = sealer.close(closing)
        except (Unavailable, OSError) as error:
            log.error("take_not_closed", take=sealer.folder.take, code=getattr(error, "code", "spool-failing"))
            sealer.forget()
            _fail(future, error)
            return
        if not future.cancelled():
            future.set_result(closed)


def _fail(future: Future[Closed], error: Exception) -> None:
    if not future.cancelled():
        future.set_exception(error)
