"""Takes the spool's objects to the store, in order, again and again until it has them. Recording never waits for it.

Each object is delivered whole and unchanged; delivering it twice is harmless. Only the store's own hash of what it
holds counts as an acknowledgement. What is acknowledged is kept here for a set time all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import structlog

from evidence_store.sealing import segment
from recorder.device import Device
from recorder.spool import Spool, TakeFolder

log = structlog.get_logger()

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
HEARTBEAT_SECONDS: Final = 10.0


@dataclass(slots=True)
class DeliveryState:
    """What the room shows of its deliveries. `trouble`: a code, None while all is well."""

    undelivered: int = 0
    trouble: str | None = None
    test_opened: int = 0
    """The last take whose wrap and first tick the store has opened."""
    test_failed: int = 0
    """The last take whose wrap or first tick the store could not open: an alarm."""


def objects(take: TakeFolder) -> Iterator[tuple[str, Path]]:
    """What a take has to deliver and has not yet, in the order the store wants it: kind and file."""
    segments = take.segments()
    finished = segments if take.close.exists() else segments[:-1]
    items: list[tuple[str, Path]] = [("start", take.start)]
    items += [(f"segments/{int(path.stem)}", path) for path in finished]
    items += [("tail", take.tail)] if take.tail.exists() and take.close.exists() else []
    items += [("close", take.close)]
    for kind, path in items:
        if path.exists() and not take.acknowledged(path):
            yield kind, path


def first_tick(data: bytes) -> bytes | None:
    """The first segment up to its first tick's end, as the store test-opens it; None where there is none yet."""
    _, at = segment.read_header(data)
    for tick in segment.ticks(data, at):
        return data[: tick.offset + tick.size]
    return None


class Delivery:
    """One owned task. `poke` when something new is there."""

    def __init__(
        self,
        spool: Spool,
        device: Device,
        client: httpx.AsyncClient,
        *,
        keep_seconds: float,
        heartbeat: Callable[[], bytes],
        is_open: Callable[[], TakeFolder | None],
    ) -> None:
        """`client` has the store's base URL and this room's credentials. `is_open`: the take being recorded."""
        self._spool = spool
        self._device = device
        self._client = client
        self._keep_seconds = keep_seconds
        self._heartbeat = heartbeat
        self._is_open = is_open
        self._news = asyncio.Event()
        self._tested: set[Path] = set()
        self.state = DeliveryState()

    def poke(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause, next_heartbeat = FIRST_PAUSE, 0.0
        while True:
            self._news.clear()
            try:
                if time.monotonic() >= next_heartbeat:
                    await self._send("POST", "heartbeats", self._heartbeat())
                    next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
                delivered = await self._round()
                self.state.trouble = None
                pause = FIRST_PAUSE
                if delivered:
                    continue
                await self._forget_old()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                self._note(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            except OSError as error:
                self.state.trouble = "spool-unreadable"
                log.error("delivery_cannot_read", errno=error.errno)
                await asyncio.sleep(LONGEST_PAUSE)
                continue
            try:
                async with asyncio.timeout(1.0):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _note(self, error: httpx.HTTPError) -> None:
        if isinstance(error, httpx.HTTPStatusError):
            status = error.response.status_code
            trouble = "store-unavailable" if status >= 500 else "store-refuses"
            log.warning("delivery_refused", status=status)
        else:
            trouble = "store-out-of-reach"
            log.info("delivery_waits", reason=type(error).__name__)
        self.state.trouble = trouble

    async def _round(self) -> int:
        """Delivers what there is; how many objects the store took."""
        takes = await asyncio.to_thread(self._spool.takes)
        pending = [(take, list(objects(take))) for take in takes]
        self.state.undelivered = sum(len(items) for _, items in pending)
        delivered = 0
        for take, items in pending:
            base = f"takes/{take.enrolment.hex()}/{take.take}"
            for kind, path in items:
                if kind == "close" and any(each != "close" for each, _ in objects(take)):
                    break  # something appeared meanwhile that has to come before: next round
                data = await asyncio.to_thread(path.read_bytes)
                reply = await self._send("PUT", f"{base}/{kind}", data)
                if reply.json()["sha256"] != hashlib.sha256(data).hexdigest():
                    self.state.trouble = "store-holds-something-else"
                    log.error("acknowledgement_differs", take=take.take, kind=kind)
                    return delivered
                take.acknowledge(path)
                delivered += 1
                self.state.undelivered -= 1
            await self._test_opening(take, base)
        return delivered

    async def _test_opening(self, take: TakeFolder, base: str) -> None:
        """The store opens wrap and first tick while the take still runs: what can't be read must show at once."""
        path = take.segment(0)
        if take.path in self._tested or not take.acknowledged(take.start) or not path.exists():
            return
        data = await asyncio.to_thread(path.read_bytes)
        first = first_tick(data)
        if first is None:
            return
        reply = await self._send("POST", f"{base}/test-opening", first)
        self._tested.add(take.path)
        if reply.json()["opened"]:
            self.state.test_opened = take.take
        else:
            self.state.test_failed = take.take
            log.error("test_opening_failed", take=take.take)

    async def _send(self, method: str, path: str, data: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"}
        reply = await self._client.request(method, path, content=data, headers=headers)
        reply.raise_for_status()
        return reply

    async def _forget_old(self) -> None:
        """Removes takes that the store has had, whole, for long enough."""
        now = time.time()
        for take in await asyncio.to_thread(self._spool.takes):
            mark = take.close.with_name(take.close.name + ".ack")
            whole = mark.exists() and not any(True for _ in objects(take))
            if whole and now - mark.stat().st_mtime > self._keep_seconds:
                await asyncio.to_thread(self._spool.remove, take)
                self._tested.discard(take.path)
                log.info("take_removed_from_spool", take=take.take)
