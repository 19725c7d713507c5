"""The viewing copy: both cameras in one picture, a clock and the copy's mark burnt in. Derived, never the original.

FFmpeg decodes what cameras sent, so it runs apart: child processes with limits on memory, processor time and core
dumps, no network protocol, and nothing of ours but pipes. One process renders a take to MPEG-TS, one after the other
(so that no more than a take is open at once); one more joins them into a fragmented MP4 without re-encoding.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Final

import imageio_ffmpeg

from evidence_store.copies.graph import Card, Look, Scene, card_arguments, join_arguments, scene_arguments
from evidence_store.copies.vessel import Vessel
from evidence_store.errors import Unavailable

MEMORY: Final = 6 << 30
"""Address space of a child, bytes."""
CLOCK_ZONE: Final = "CET-1CEST,M3.5.0,M10.5.0/3"
"""Europe/Copenhagen as a POSIX rule: FFmpeg's clock must not depend on the machine's time zone data."""
_FIRST: Final = 1.0
"""Where the first part's times begin: AAC's priming comes before it, and MPEG-TS would move a negative time."""
_READ: Final = 256 * 1024
_KEPT_ERRORS: Final = 2000


@dataclass(frozen=True, slots=True)
class Tools:
    """What rendering needs of the machine."""

    ffmpeg: str = field(default_factory=imageio_ffmpeg.get_ffmpeg_exe)
    font: Path = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The viewing copy, encrypted in `vessel`, and FFmpeg's command lines that made it."""

    vessel: Vessel
    commands: list[list[str]]


class RenderFailed(Unavailable):
    code = "render-failed"


def render(
    parts: Sequence[Scene | Card], look: Look, scratch: Path, tools: Tools, progress: Callable[[float], None]
) -> Rendered:
    """Renders scenes and cards in order. Raises RenderFailed, Unavailable `font-missing`, and whatever reading the
    originals raised (Tampered). `scratch`: folder for the encrypted temporary file, which has no name there."""
    if not tools.font.is_file():
        raise Unavailable("the font for the viewing copy is missing (package fonts-dejavu-core)", code="font-missing")
    look = Look(look.copy_id, str(tools.font))
    commands: list[list[str]] = []
    seconds = sum(part.seconds for part in parts)
    limits = _Limits(60 + 40 * seconds)
    vessel = Vessel(scratch)
    try:
        joiner = _Child(join_arguments(), tools, limits, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            drain = _Thread(lambda: _fill(vessel, joiner))
            done = 0.0
            try:
                for part in parts:
                    step = partial(_step, progress, done / seconds, part.seconds / seconds)
                    commands.append(_render_part(part, look, _FIRST + done, tools, limits, joiner, step))
                    done += part.seconds
                    progress(done / seconds)
                joiner.input.close()
                drain.join_until(limits.deadline)
                joiner.finish("join")
            except RenderFailed:
                # A full disk breaks the children's pipe: say that, not that they could not write.
                drain.raise_error()
                raise
            drain.raise_error()
        finally:
            joiner.end()
        commands.append(join_arguments())
        vessel.finish()
    except BaseException:
        vessel.close()
        raise
    return Rendered(vessel, commands)


def _fill(vessel: Vessel, joiner: _Child) -> None:
    try:
        while data := joiner.output.read(_READ):
            vessel.write(data)
    except BaseException:
        # A full disk: without this the children would wait for a reader until their time is up.
        joiner.kill()
        raise


def _render_part(
    part: Scene | Card,
    look: Look,
    at: float,
    tools: Tools,
    limits: _Limits,
    joiner: _Child,
    step: Callable[[float], None],
) -> list[str]:
    """One part, written by its own child straight into the joiner's input. Its command line."""
    if isinstance(part, Card):
        arguments = card_arguments(part, look, at)
        child = _Child(arguments, tools, limits, stdin=subprocess.DEVNULL, stdout=joiner.input)
        try:
            child.wait(limits, lambda: None)
            child.finish("card")
        finally:
            child.end()
        return arguments
    pipes = [os.pipe() for _ in part.inputs]
    arguments = scene_arguments(part, [reader for reader, _ in pipes], look, at)
    try:
        child = _Child(
            arguments, tools, limits, stdin=subprocess.DEVNULL, stdout=joiner.input, keep=[r for r, _ in pipes]
        )
    except BaseException:
        for _, writer in pipes:
            os.close(writer)
        raise
    finally:
        for reader, _ in pipes:
            os.close(reader)
    # Each writer belongs to its feeder from here on.
    fed = [0] * len(pipes)
    total = sum(each.size for each in part.inputs) or 1
    feeders = [
        _Thread(partial(_feed, writer, source.read, fed, position))
        for position, ((_, writer), source) in enumerate(zip(pipes, part.inputs, strict=True))
    ]
    try:
        try:
            child.wait(limits, lambda: step(sum(fed) / total))
        finally:
            child.kill()
            # With the child gone its pipes are broken: no feeder can hang.
            for feeder in feeders:
                feeder.join_until(None)
        for feeder in feeders:
            feeder.raise_error()
        child.finish("take")
    finally:
        child.end()
    return scene_arguments(part, range(len(part.inputs)), look, at)


def _step(progress: Callable[[float], None], before: float, share: float, within: float) -> None:
    progress(before + share * within)


def _feed(writer: int, read: Callable[[], Iterator[bytes]], fed: list[int], position: int) -> None:
    """Everything of one original into its pipe; `fed[position]` counts the bytes."""
    try:
        for data in read():
            fed[position] += len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(writer, view) :]
    except BrokenPipeError:
        # The child has all it wants, or died: its exit code tells which.
        return
    finally:
        os.close(writer)


class _Thread:
    """A thread whose error is raised where it is joined."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by raise_error
            self._error = error

    def join_until(self, deadline: float | None) -> None:
        self._thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            raise RenderFailed("the viewing copy was not done in time")

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error


@dataclass(frozen=True, slots=True)
class _Limits:
    seconds: float
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deadline", time.monotonic() + self.seconds)


class _Child:
    """One FFmpeg under limits. prlimit and nice set them before FFmpeg's first instruction."""

    def __init__(
        self,
        arguments: list[str],
        tools: Tools,
        limits: _Limits,
        *,
        stdin: int | IO[bytes],
        stdout: int | IO[bytes],
        keep: Sequence[int] = (),
    ) -> None:
        command = [
            "prlimit", f"--as={MEMORY}", f"--cpu={int(limits.seconds)}", "--core=0", "--",
            "nice", "-n", "10", tools.ffmpeg, *arguments,
        ]  # fmt: skip
        # FFmpeg's words may be long, and nobody reads them while it runs: a file, not a pipe. No media is in them.
        self._errors = tempfile.TemporaryFile(prefix="vidne-ffmpeg-")  # noqa: SIM115 - closed by end()
        environment = {"PATH": "/usr/bin:/bin", "TZ": CLOCK_ZONE, "LC_ALL": "C"}
        self._process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=self._errors, pass_fds=tuple(keep), env=environment
        )

    @property
    def input(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - asked only of a child with a pipe
        return self._process.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - as above
        return self._process.stdout

    def wait(self, limits: _Limits, look: Callable[[], None]) -> None:
        """Until it ends; `look` is called twice a second. Raises RenderFailed at the deadline."""
        while time.monotonic() < limits.deadline:
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                look()
            else:
                return
        raise RenderFailed("the viewing copy was not done in time")

    def finish(self, what: str) -> None:
        """Raises RenderFailed unless it ended well."""
        code = self._process.wait()
        if code != 0:
            self._errors.seek(0)
            words = self._errors.read(_KEPT_ERRORS).decode("utf-8", "replace").strip()
            raise RenderFailed(f"FFmpeg ended with {code} ({what}): {words}")

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def end(self) -> None:
        """Kills it if it still runs, and lets go of everything. Safe to repeat."""
        self.kill()
        self._process.wait()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
