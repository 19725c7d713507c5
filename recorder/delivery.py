"""Takes the spool's objects to the store, in order, again and again until it has them. Recording never waits for it.

Each object is delivered whole and unchanged; delivering it twice is harmless. Only the store's own hash of what it
holds counts as an acknowledgement. What is acknowledged is kept here for a set time all the same.

In a round every start goes first, so that the store knows each take that has begun before it hears of any that ended;
then each take gets a few objects across, the newest first, so that a backlog holds back neither the running take's
test-opening nor a heartbeat. A take that the store refuses is an alarm and holds back no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import structlog

from evidence_store.errors import InvalidInput, KeysOutOfReach, NoSpace, Tampered
from evidence_store.sealing import segment
from recorder.answered import Lost, Unsealed, lost, unsealed
from recorder.checks import space_low
from recorder.key_pool import Send
from recorder.spool import Spool, TakeFolder

log = structlog.get_logger()

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
HEARTBEAT_SECONDS: Final = 10.0
ERRANDS_SECONDS: Final = 5.0
TIDY_SECONDS: Final = 1.0
"""Between looks for takes that may go: also while the store is away, when a disk fills."""
AT_ONCE: Final = 16
"""Objects of one take in one round."""
_KEYS_AWAY: Final = "keys-out-of-reach"
_STORE_AWAY: Final = frozenset({502, 503, 504, 507})
"""Answers that say nothing of what was delivered: the store, or room in it, is not there now."""


Errand = Callable[[Send, Callable[..., Awaitable[object]]], Awaitable[None]]
"""Given how to send and how to run something beside the event loop."""


class _AnswerError(Exception):
    """The store, or whatever answered for it, said something that is no acknowledgement."""


@dataclass(slots=True)
class DeliveryState:
    """What the room shows of its deliveries. `trouble`: a code, None while all is well."""

    undelivered: int = 0
    trouble: str | None = None
    test_opened: int = 0
    """The last take whose wrap and first tick the store has opened."""
    test_failed: int = 0
    """The last take whose wrap or first tick the store could not open: an alarm."""
    device_key_away: bool = False
    """The token that the device signs in did not sign the last heartbeat."""


def objects(take: TakeFolder) -> list[tuple[str, Path]]:
    """What a take has to deliver and has not yet, in the order the store wants it: kind and file."""
    names = take.names()
    closed = take.close.name in names
    segments = sorted(name for name in names if name.endswith(".segment"))
    items = [("start", take.start.name)]
    # The last one of an open take may still grow.
    items += [(f"segments/{int(name.partition('.')[0])}", name) for name in (segments if closed else segments[:-1])]
    if closed:
        items += [("tail", take.tail.name), ("close", take.close.name)]
    return [(kind, take.path / name) for kind, name in items if name in names and f"{name}.ack" not in names]


def first_tick(data: bytes) -> bytes | None:
    """The first segment up to its first tick's end, as the store test-opens it; None where there is none yet."""
    try:
        _, at = segment.read_header(data)
        tick = next(segment.ticks(data, at), None)
    except Tampered:
        # Read while its first frame was being written: there will be more the next time.
        return None
    return None if tick is None else data[: tick.offset + tick.size]


class Delivery:
    """One owned task. `poke` when something new is there."""

    def __init__(
        self,
        spool: Spool,
        client: httpx.AsyncClient,
        *,
        keep_seconds: float,
        heartbeat: Callable[[], bytes],
        errands: Sequence[Errand] = (),
    ) -> None:
        """`client` has the store's base URL and this room's credentials. `heartbeat` makes a signed one, at once.

        `errands` are run after the takes, each ERRANDS_SECONDS: what else goes between room and store.
        """
        self._spool = spool
        self._client = client
        self._keep_seconds = keep_seconds
        self._heartbeat = heartbeat
        self._errands = tuple(errands)
        self._news = asyncio.Event()
        self._tested: set[Path] = set()
        self._done: set[Path] = set()
        self._others: set[Path] = set()
        self._unsealed: Unsealed | None = None
        self.state = DeliveryState()

    def poke(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause, next_heartbeat, next_errands, next_tidy, told = FIRST_PAUSE, 0.0, 0.0, 0.0, -1
        while True:
            self._news.clear()
            try:
                if time.monotonic() >= next_tidy:
                    await self._tidy()
                    next_tidy = time.monotonic() + TIDY_SECONDS
                # A new number is told at once: a take that never comes then shows, and nothing is sealed without it.
                if time.monotonic() >= next_heartbeat or told != self._spool.highest_take():
                    highest = self._spool.highest_take()
                    if (heartbeat := await self._signed_heartbeat()) is not None:
                        asked = time.time()
                        answer = await self._send("POST", "heartbeats", heartbeat)
                        await asyncio.to_thread(self._heard, answer, asked)
                    next_heartbeat, told = time.monotonic() + HEARTBEAT_SECONDS, highest
                delivered, refused = await self._round()
                if refused is None:
                    self.state.trouble = None
                if delivered:
                    pause = FIRST_PAUSE
                    continue
                if time.monotonic() >= next_errands:
                    await self._run_errands()
                    next_errands = time.monotonic() + ERRANDS_SECONDS
                if refused is not None:
                    raise refused
                pause = FIRST_PAUSE
            except (httpx.HTTPError, _AnswerError) as error:
                self._note(error)
                await asyncio.to_thread(self._count)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            except (OSError, NoSpace) as error:
                self.state.trouble = "spool-full" if isinstance(error, NoSpace) else "spool-unreadable"
                log.error("delivery_cannot_use_spool", error=type(error).__name__)
                await asyncio.sleep(LONGEST_PAUSE)
                continue
            try:
                async with asyncio.timeout(1.0):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _signed_heartbeat(self) -> bytes | None:
        """None while the device's token does not answer: takes are delivered all the same. A TPM takes its time, which
        is not the event loop's."""
        try:
            heartbeat = await asyncio.to_thread(self._heartbeat)
        except KeysOutOfReach as error:
            log.error("device_key_away", reason=str(error))
            self.state.device_key_away = True
            return None
        self.state.device_key_away = False
        return heartbeat

    def _heard(self, answer: httpx.Response, asked: float) -> None:
        """What a heartbeat that was sent then, UTC seconds, is answered. Raises OSError."""
        try:
            said = answer.json()
            self._unsealed = unsealed(said, asked)
            self._deliver_again(lost(said))
        except (ValueError, InvalidInput):
            log.error("heartbeat_answer_not_understood")

    def _deliver_again(self, named: Sequence[Lost]) -> None:
        """What the store had acknowledged and has lost, where this spool still has it as it was. Raises OSError."""
        takes = {(take.enrolment.hex(), take.take): take for take in self._spool.takes()} if named else {}
        for each in named:
            take = takes.get((each.enrolment, each.take))
            if take is None or not take.acknowledged(item := take.path / each.file) or not item.exists():
                continue
            if item in self._others:
                continue
            if _read(item)[1] != each.sha256:
                # Looked at once: what is another now stays so, and this disk has a recording to take.
                self._others.add(item)
                log.error("lost_object_is_another_here", take=take.take, file=each.file)
                continue
            take.deliver_again(item)
            self._done.discard(take.path)
            log.warning("object_is_delivered_again", take=take.take, file=each.file)

    async def _run_errands(self) -> None:
        """One that the store refuses holds up neither the others nor any take. Raises what says it is not there."""
        for errand in self._errands:
            try:
                await errand(self._send, asyncio.to_thread)
            except httpx.HTTPStatusError as error:
                if error.response.status_code in _STORE_AWAY and not _only_keys_away(error):
                    raise
                log.error("errand_refused", status=error.response.status_code)
            except InvalidInput as error:
                log.error("errand_answer_not_understood", code=error.code)

    def _note(self, error: httpx.HTTPError | _AnswerError) -> None:
        if isinstance(error, httpx.HTTPStatusError):
            status = error.response.status_code
            trouble = "store-unavailable" if status in _STORE_AWAY else "store-refuses"
            log.warning("delivery_refused", status=status)
        elif isinstance(error, _AnswerError):
            trouble = "store-holds-something-else"
            log.error("acknowledgement_differs")
        else:
            trouble = "store-out-of-reach"
            log.info("delivery_waits", reason=type(error).__name__)
        self.state.trouble = trouble

    async def _round(self) -> tuple[int, httpx.HTTPStatusError | _AnswerError | None]:
        """Delivers some of what there is: how many objects the store took, and what it refused, if anything.

        Raises what says that the store is not there at all: then the rest need not be tried.
        """
        pending = await asyncio.to_thread(self._pending)
        self.state.undelivered = sum(len(items) for _, items in pending)
        starts = [(take, items[:1]) for take, items in pending if items and items[0][0] == "start"]
        rest = [(take, [each for each in items if each[0] != "start"][:AT_ONCE]) for take, items in pending]
        delivered = 0
        trouble: dict[Path, httpx.HTTPStatusError | _AnswerError] = {}
        for take, items in starts + rest[::-1]:
            if take.path in trouble:
                continue
            try:
                delivered += await self._deliver(take, items)
            except (httpx.HTTPStatusError, _AnswerError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _STORE_AWAY:
                    raise
                trouble[take.path] = error
                self._note(error)
        return delivered, next(iter(trouble.values()), None)

    def _count(self) -> None:
        """While the store is away nobody must be told that all is delivered."""
        with contextlib.suppress(OSError):  # the next round says so
            self.state.undelivered = sum(len(items) for _, items in self._pending())

    def _pending(self) -> list[tuple[TakeFolder, list[tuple[str, Path]]]]:
        """Takes that have something to deliver or to test, oldest first. Looks at the disk: not for the event loop."""
        found = []
        for take in self._spool.takes():
            if take.path not in self._done:
                items = objects(take)
                if not items and take.acknowledged(take.close):
                    self._done.add(take.path)
                found.append((take, items))
        return found

    async def _deliver(self, take: TakeFolder, items: list[tuple[str, Path]]) -> int:
        base = f"takes/{take.enrolment.hex()}/{take.take}"
        delivered = 0
        for kind, path in items:
            if kind == "close" and await asyncio.to_thread(objects, take) != [(kind, path)]:
                break  # something appeared meanwhile that has to come before: next round
            data, digest = await asyncio.to_thread(_read, path)
            reply = await self._send("PUT", f"{base}/{kind}", data)
            if _answer(reply, "sha256") != digest:
                raise _AnswerError
            await asyncio.to_thread(take.acknowledge, path)
            delivered += 1
            self.state.undelivered -= 1
        if not any(kind == "start" for kind, _ in items):
            await self._test_opening(take, base)
        return delivered

    async def _test_opening(self, take: TakeFolder, base: str) -> None:
        """The store opens wrap and first tick while the take still runs: what can't be read must show at once."""
        if take.path in self._tested:
            return
        first = await asyncio.to_thread(_first_tick_of, take)
        if first is None:
            return
        try:
            reply = await self._send("POST", f"{base}/test-opening", first)
        except httpx.HTTPStatusError as error:
            if not _only_keys_away(error):
                raise
            log.warning("test_opening_put_off", take=take.take)  # segments need no key: they go on
            return
        opened = _answer(reply, "opened")
        self._tested.add(take.path)
        if opened:
            self.state.test_opened = take.take
        else:
            self.state.test_failed = take.take
            log.error("test_opening_failed", take=take.take)

    async def _send(self, method: str, path: str, data: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"}
        reply = await self._client.request(method, path, content=data, headers=headers)
        reply.raise_for_status()
        return reply

    async def _tidy(self) -> None:
        """A disk that lets nothing be removed holds up no delivery: that may be what it waits for."""
        try:
            await asyncio.to_thread(self._forget_old)
        except (OSError, NoSpace) as error:
            log.error("spool_not_tidied", error=type(error).__name__)

    def _forget_old(self) -> None:
        """Removes takes that the store has had, whole, for long enough. Raises NoSpace, OSError.

        One whose interview is not sealed stays: a vault may still lack it. But a recording needs its room more: while
        space is low they go too, oldest first.
        """
        self._spool.finish_removals()
        now, waiting = time.time(), []
        for take in self._spool.takes():
            if take.path not in self._done:
                continue
            acknowledged = take.close.with_name(take.close.name + ".ack").stat().st_mtime
            if now - acknowledged <= self._keep_seconds:
                continue
            if self._unsealed is None or self._unsealed.waits(take.enrolment.hex(), take.take, acknowledged):
                waiting.append(take)
            else:
                self._forget(take)
        for take in waiting:
            if not space_low(self._spool.free_bytes(), None):
                return
            self._forget(take)

    def _forget(self, take: TakeFolder) -> None:
        self._spool.remove(take)
        self._done.discard(take.path)
        self._tested.discard(take.path)
        log.info("take_removed_from_spool", take=take.take)


def _only_keys_away(error: httpx.HTTPStatusError) -> bool:
    """Whether the store is there, and only its keys (an HSM) are not."""
    try:
        return bool(error.response.json()["code"] == _KEYS_AWAY)
    except (ValueError, KeyError, TypeError):
        return False


def _read(path: Path) -> tuple[bytes, str]:
    """A file and its SHA-256 in hex. Megabytes: not for the event loop."""
    data = path.read_bytes()
    return data, hashlib.sha256(data).hexdigest()


def _first_tick_of(take: TakeFolder) -> bytes | None:
    path = take.segment(0)
    return first_tick(path.read_bytes()) if take.acknowledged(take.start) and path.exists() else None


def _answer(reply: httpx.Response, name: str) -> object:
    """A member of the store's answer. Raises _AnswerError for what is none."""
    try:
        return reply.json()[name]
    except (ValueError, KeyError, TypeError) as error:
        raise _AnswerError from error
