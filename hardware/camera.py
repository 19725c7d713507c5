"""`vidne camera`: publishes over WHIP through FFmpeg's own WHIP muxer, and comes back by itself.

What it publishes is a clip, an RTSP camera, or a capture device (`live_source`). One attempt is: the endpoint answers →
a `Door` for the signalling → FFmpeg, given the stream's head so that it knows the tracks and shakes hands → a clip's
packets from the next whole second of UTC on, paced; a camera's as they come. FFmpeg ends by itself as soon
as the server's port is closed (40 ms, measured), and after 30 s of silence where nothing says so (ICE consent, RFC
7675); a shorter silence is a cable out and in again, where the session goes on and a new one would only widen the
gap.

FFmpeg reads from our pipe, so that it ends when this process does, however that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import imageio_ffmpeg
import structlog

from hardware.clip_stream import Chunk, Clip, UnsuitableClip, open_clip, paced_chunks, primer
from hardware.live_source import LiveStream, Source, SourceTrouble, Trouble, open_live
from hardware.signalling import Door

FIRST_DELAY, GREATEST_DELAY, GREATEST_DELAY_OUT_OF_REACH = 0.2, 5.0, 0.5
_HANDSHAKE = 10.0  # seconds for FFmpeg to connect
_FAREWELL = 2.0  # seconds for FFmpeg to end its session
_PUBLISHED_WELL = 5.0  # seconds of publishing after which the next failure is a first one
_STUCK = 2_000_000  # bytes that FFmpeg has not read: about 4 s of 4 Mbit/s
_CLOCK_STEP = 1.0  # seconds between a chunk and its time beyond which the wall clock has been set

_CONNECTED = re.compile(r"Output #0, whip")
_SAID = re.compile(r"(?:\[[^\]]* @ 0x[0-9a-f]+\] )?\[(warning|error|fatal|panic)\] (.*)")
# Said at every start and every farewell of FFmpeg 9.0, whatever the server answers.
_KNOWN = re.compile(r"Guessed Channel Layout|Failed to read response from DELETE|Failed to dispose resource")
# FFmpeg has given up its output. It does not always end then: it may go on reading until its input ends.
_GIVEN_UP = re.compile(r"Terminating thread with return code|Task finished with error code")
_ADDRESS = re.compile(r"\b[a-z]+://\S+")

_log = structlog.get_logger(__name__)


class State(StrEnum):
    """Where a camera is."""

    CONNECTING = "connecting"
    PUBLISHING = "publishing"
    WAITING = "waiting"
    STOPPED = "stopped"


class End(StrEnum):
    """Why an attempt ended."""

    STOPPED = "stopped"
    OUT_OF_REACH = "out-of-reach"  # nothing answers at the endpoint
    REFUSED = "refused"  # the endpoint answered the offer with something else than 201
    NO_HANDSHAKE = "no-handshake"
    SERVER_LOST = "server-lost"
    STUCK = "stuck"  # FFmpeg does not take what it is given
    CLOCK_STEPPED = "clock-stepped"
    SOURCE_OUT_OF_REACH = "source-out-of-reach"  # the camera or device gives nothing
    SOURCE_REFUSED = "source-refused"  # the camera knows neither user nor path
    SOURCE_UNSUITABLE = "source-unsuitable"  # it gives what WebRTC cannot carry
    SOURCE_LOST = "source-lost"  # it gave, and does no more


_OF_TROUBLE: dict[Trouble, End] = {
    "out-of-reach": End.SOURCE_OUT_OF_REACH,
    "refused": End.SOURCE_REFUSED,
    "unsuitable": End.SOURCE_UNSUITABLE,
    "lost": End.SOURCE_LOST,
}
_CHEAP_TO_ASK = frozenset({End.OUT_OF_REACH, End.SOURCE_OUT_OF_REACH})


@dataclass(frozen=True, slots=True)
class Report:
    """What a camera tells about itself. `attempt` counts from 1; `delay` is the wait before the next, in seconds."""

    state: State
    attempt: int
    end: End | None = None
    status: int | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What to publish, and where.

    `name` is the camera's id, for logs. `token` is the bearer token of this one camera; it is never logged. `source` is
    a clip (MP4 or MKV with H.264 without B-frames and/or Opus in stereo), or a camera or device. `authorities` is a PEM
    file with the authorities to trust for https, None for the system's. Raises ValueError for a token on an open
    network (http beyond loopback).
    """

    name: str
    endpoint: str
    token: str
    source: Path | Source
    audio_only: bool = False
    """Of a clip."""
    authorities: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise ValueError("an endpoint is an http or https address without a user in it")
        if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(
                "beyond loopback an endpoint must be https: the camera's token would be readable on the network"
            )
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,512}", self.token):
            raise ValueError("a token is 1 to 512 characters of a bearer token (RFC 6750)")

    def __repr__(self) -> str:
        source = self.source.name if isinstance(self.source, Path) else self.source
        return f"CameraSettings({self.name!r}, {source!r})"


@dataclass(frozen=True, slots=True)
class _Outcome:
    end: End
    published: float = 0.0
    status: int | None = None
    retry_after: float | None = None
    why: str | None = None


def next_delay(failures: int, end: End, retry_after: float | None, chance: float) -> float:
    """Seconds to wait after `failures` (≥ 1) in a row: doubling from 0.2 s, less up to a quarter by `chance` (0 to 1).

    Where nothing answers, at most half a second, since asking is cheap and the room is not being recorded; else at
    most 5 s: a camera that refuses may lock out who asks too often. The endpoint's own wish (Retry-After) is kept up
    to 30 s.
    """
    bound = GREATEST_DELAY_OUT_OF_REACH if end in _CHEAP_TO_ASK else GREATEST_DELAY
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 16), bound) * (1 - chance / 4)
    return max(delay, min(retry_after or 0.0, 30.0))


async def run_camera(settings: CameraSettings, stop: asyncio.Event, report: Callable[[Report], None]) -> None:
    """Publish until `stop` is set; failures are reported and tried again, for ever.

    Raises UnsuitableClip before the first attempt. When it returns or is cancelled, its child processes are gone.
    """
    source: Clip | Source
    if isinstance(settings.source, Path):
        source = await asyncio.to_thread(open_clip, settings.source, audio_only=settings.audio_only)
        if settings.audio_only and not source.audio:
            raise UnsuitableClip("the file has no sound to send")
    else:
        source = settings.source
    log = _log.bind(camera=settings.name)
    verify = str(settings.authorities) if settings.authorities else True
    failures = attempt = 0
    told: End | None = None
    async with httpx.AsyncClient(verify=verify, timeout=5.0, follow_redirects=True, trust_env=False) as client:
        while not stop.is_set():
            attempt += 1
            report(Report(State.CONNECTING, attempt))
            publication = _Publication(settings, source, client, stop, log)
            outcome = await publication.run(partial(report, Report(State.PUBLISHING, attempt)))
            if outcome.end is End.STOPPED:
                break
            failures = 1 if outcome.published >= _PUBLISHED_WELL else failures + 1
            delay = next_delay(failures, outcome.end, outcome.retry_after, random.random())  # noqa: S311 - jitter
            published = round(outcome.published, 1)
            if published or outcome.end is not told:  # one line for a server that is down, not two a second
                log.warning(
                    "camera.interrupted", end=outcome.end, status=outcome.status, published=published, why=outcome.why
                )
            told = outcome.end
            report(Report(State.WAITING, attempt, outcome.end, outcome.status, delay))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay)
    report(Report(State.STOPPED, attempt))


class _Publication:
    """One attempt, from asking whether the endpoint is there to FFmpeg's end."""

    def __init__(
        self,
        settings: CameraSettings,
        source: Clip | Source,
        client: httpx.AsyncClient,
        stop: asyncio.Event,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._source = source
        self._client = client
        self._stop = stop
        self._log = log
        self._connected = asyncio.Event()
        self._given_up = asyncio.Event()
        self._epoch = math.floor(time.time())
        """Unix time of the container's time 0."""

    async def run(self, publishing: Callable[[], None]) -> _Outcome:
        try:
            await self._client.options(self._settings.endpoint, timeout=2.0)
        except httpx.HTTPError:
            return _Outcome(End.OUT_OF_REACH)
        if isinstance(self._source, Clip):
            return await self._attempt(_ClipFeed(self._source, self._epoch), publishing)
        try:
            async with open_live(self._source, self._epoch, self._stop) as stream:
                return await self._attempt(_LiveFeed(stream), publishing)
        except SourceTrouble as trouble:
            return _Outcome(End.STOPPED if self._stop.is_set() else _OF_TROUBLE[trouble.kind], why=str(trouble))

    async def _attempt(self, feed: _Feed, publishing: Callable[[], None]) -> _Outcome:
        async with Door(self._client, self._settings.endpoint, self._settings.token) as door:
            async with self._ffmpeg(door.url) as ffmpeg:
                end, published = await self._publish(ffmpeg, feed, publishing)
            if end is End.NO_HANDSHAKE and door.status is not None and door.status != httpx.codes.CREATED:
                end = End.OUT_OF_REACH if door.status == 0 else End.REFUSED
            return _Outcome(end, published, door.status, door.retry_after, feed.why)

    @contextlib.asynccontextmanager
    async def _ffmpeg(self, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """FFmpeg, and whoever listens to it; on leaving both have ended."""
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-nostdin", "-v", "level+info"]
        command += ["-nofind_stream_info", "-f", "nut", "-i", "pipe:0", "-map", "0", "-c", "copy"]
        # Sender reports say when RTP time 0 was. Left to itself the muxer takes the moment of its handshake, and its
        # reports are then wrong by the wait for the next whole second.
        command += ["-copyts", "-start_time_realtime", str(self._epoch * 1_000_000)]
        command += ["-f", "whip", "-whip_flags", "dtls_active", "-rtp_history", "2048", url]
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        ffmpeg = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=nowhere, stderr=pipe, start_new_session=True
        )
        listener = asyncio.create_task(self._listen(ffmpeg))
        try:
            yield ffmpeg
        finally:
            if self._given_up.is_set() and ffmpeg.returncode is None:
                # Neither the end of its input nor SIGTERM ends it then (measured): the room would wait four seconds.
                with contextlib.suppress(ProcessLookupError):
                    ffmpeg.kill()
            await asyncio.shield(_end(ffmpeg))
            await listener

    async def _publish(
        self, ffmpeg: asyncio.subprocess.Process, feed: _Feed, publishing: Callable[[], None]
    ) -> tuple[End, float]:
        """Prime, wait for the handshake, then feed until something ends it; the seconds published beside the reason."""
        ended = asyncio.create_task(ffmpeg.wait())
        stopped = asyncio.create_task(self._stop.wait())
        connected = asyncio.create_task(self._connected.wait())
        given_up = asyncio.create_task(self._given_up.wait())
        feeding: asyncio.Task[End] | None = None
        began = 0.0
        try:
            _write(ffmpeg, feed.head)
            beginnings = {ended, stopped, connected, given_up}
            await asyncio.wait(beginnings, timeout=_HANDSHAKE, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return End.STOPPED, 0.0
            if not connected.done() or ended.done():
                return End.NO_HANDSHAKE, 0.0
            began = time.monotonic()
            feeding = asyncio.create_task(feed.run(ffmpeg, publishing))
            await asyncio.wait({ended, stopped, feeding, given_up}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return End.STOPPED, time.monotonic() - began
            lost = ended.done() or given_up.done()
            return (End.SERVER_LOST if lost else feeding.result()), time.monotonic() - began
        finally:
            tasks = [task for task in (ended, stopped, connected, given_up, feeding) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, ffmpeg: asyncio.subprocess.Process) -> None:
        """Pass FFmpeg's warnings on, without addresses; of an offer in them, nothing."""
        if ffmpeg.stderr is None:
            raise RuntimeError("FFmpeg was started without a pipe for its messages")
        while line := await ffmpeg.stderr.readline():
            text = line.decode(errors="replace").strip()
            if _CONNECTED.search(text):
                self._connected.set()
                continue
            if _GIVEN_UP.search(text):
                self._given_up.set()
            if (said := _SAID.match(text)) and not _KNOWN.search(said[2]):
                words = _ADDRESS.sub("…", said[2].partition("offer:")[0])[:200]
                self._log.warning("camera.ffmpeg", level=said[1], said=words)


class _Feed(Protocol):
    """What FFmpeg is given. `why`: a sentence, where there is one, when it has ended."""

    head: bytes
    why: str | None

    async def run(self, ffmpeg: asyncio.subprocess.Process, publishing: Callable[[], None]) -> End:
        """Until it ends, and why; `publishing` is called when the first packet has been given."""
        ...


class _ClipFeed:
    def __init__(self, clip: Clip, epoch: int) -> None:
        self._clip, self._epoch = clip, epoch
        self.head = primer(clip)
        self.why: str | None = None

    async def run(self, ffmpeg: asyncio.subprocess.Process, publishing: Callable[[], None]) -> End:
        """Hand FFmpeg each chunk when it is due by the wall clock, which is what the picture's clock shows."""
        origin = math.ceil(time.time() + 0.05)
        offset = Fraction(origin) % self._clip.seconds if self._clip.in_step else Fraction(0)
        chunks = paced_chunks(self._clip, offset, Fraction(origin - self._epoch))
        with contextlib.closing(chunks):
            for number, chunk in enumerate(_without(chunks, len(self.head))):
                early = origin + chunk.due - time.time()
                if abs(early) > 1 + _CLOCK_STEP:
                    return End.CLOCK_STEPPED
                await asyncio.sleep(max(early, 0))
                if _write(ffmpeg, chunk.data) > _STUCK:
                    return End.STUCK
                if number == 0:
                    publishing()
        raise AssertionError("a loop has no end")


class _LiveFeed:
    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self.head = stream.head
        self.why: str | None = None

    async def run(self, ffmpeg: asyncio.subprocess.Process, publishing: Callable[[], None]) -> End:
        """Hand FFmpeg what comes, when it comes."""
        told = False
        while True:
            try:
                data = await self._stream.read()
            except SourceTrouble as trouble:
                self.why = str(trouble)
                return _OF_TROUBLE[trouble.kind]
            if _write(ffmpeg, data) > _STUCK:
                return End.STUCK
            if not told:
                told = True
                publishing()


def _without(chunks: Iterable[Chunk], given: int) -> Iterator[Chunk]:
    """The chunks less their first `given` bytes."""
    for chunk in chunks:
        rest = chunk.data[given:]
        given = max(given - len(chunk.data), 0)
        if rest:
            yield Chunk(chunk.due, rest)


def _write(ffmpeg: asyncio.subprocess.Process, data: bytes) -> int:
    """Put bytes on FFmpeg's pipe, never waiting; how many it has not taken yet. One that has ended takes them all."""
    if ffmpeg.stdin is None:
        raise RuntimeError("FFmpeg was started without a pipe for its input")
    if ffmpeg.stdin.is_closing():
        return 0
    ffmpeg.stdin.write(data)
    return ffmpeg.stdin.transport.get_write_buffer_size()


async def _end(ffmpeg: asyncio.subprocess.Process) -> None:
    """End of input, so that FFmpeg says goodbye; then less politely."""
    if ffmpeg.stdin is not None:
        ffmpeg.stdin.close()
    for insist in (ffmpeg.terminate, ffmpeg.kill):
        try:
            await asyncio.wait_for(ffmpeg.wait(), _FAREWELL)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                insist()
        else:
            return
    await ffmpeg.wait()
