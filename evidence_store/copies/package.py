"""An evidence copy: a BagIt bag, signed by the store, in a tar, in an age file for one recipient.

Two passes. `prepare` decrypts and checks everything, renders the viewing copy and measures each file; nothing can be
given out unless all of it held. The copy then streams: media is decrypted again on its way out, and must come out as
it was measured, else the age file ends unfinished and does not open. In memory at a time: a segment a reader, and
the list of ranges (about 12 MB an hour).
"""

from __future__ import annotations

import hashlib
import queue
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import pyrage

from evidence_store.copies.contents import File, contents
from evidence_store.copies.render import Tools
from evidence_store.copies.source import CopySource, Progress
from evidence_store.copies.survey import TakeSurvey
from evidence_store.copies.vessel import Vessel
from evidence_store.errors import InvalidInput, Tampered, VidneError

_BLOCK: Final = 512
_RECORD: Final = 20 * _BLOCK
_QUEUE: Final = 32
"""Blocks of 64 KiB between the thread that encrypts and whoever sends: full, the thread waits."""


class Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Written:
    """The age file as it went out."""

    size: int
    sha256: str


def recipient_of(age_public_key: str) -> pyrage.x25519.Recipient:
    """Raises InvalidInput `recipient-form` for what is not an age X25519 public key (`age1…`)."""
    try:
        return pyrage.x25519.Recipient.from_str(age_public_key)
    except pyrage.RecipientError as error:
        raise InvalidInput("not an age public key", code="recipient-form") from error


def prepare(
    source: CopySource, *, scratch: Path, tools: Tools | None = None, progress: Progress | None = None
) -> PreparedCopy:
    """First pass. `scratch`: a folder for the encrypted viewing copy while it waits. Slow: run it off the event loop.

    Raises Tampered (take, track and second in its words), InvalidInput for a wrong recipient or incomplete source,
    Unavailable where ffmpeg's font or openssl is missing. Never beside a recording on the same machine.
    """
    recipient = recipient_of(source.recipient.age_public_key)
    progress = progress or (lambda stage, fraction: None)
    made = contents(source, scratch, tools or Tools(), progress)
    return PreparedCopy(source, recipient, made.files, made.takes, made.vessel, made.viewing_failure, progress)


class PreparedCopy:
    """A checked and measured copy, ready to go out; a context manager that forgets its keys at the end.

    `files`: what the tar will hold. `viewing_failure`: why there is no viewing copy, or None.
    """

    def __init__(
        self,
        source: CopySource,
        recipient: pyrage.x25519.Recipient,
        files: Sequence[File],
        takes: Sequence[TakeSurvey],
        vessel: Vessel | None,
        viewing_failure: str | None,
        progress: Progress,
    ) -> None:
        self.files, self.viewing_failure = files, viewing_failure
        self.folder = f"vidne-kopi-{source.copy_id.hex()}"
        self.file_name = f"{self.folder}.tar.age"
        self._mtime = source.made_utc_ns // 10**9
        self._recipient, self._takes, self._vessel, self._progress = recipient, takes, vessel, progress

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forgets every key and lets the temporary file go. Safe to repeat."""
        for take in self._takes:
            if take.opened is not None:
                take.opened.forget()
        if self._vessel is not None:
            self._vessel.close()

    @property
    def payload_size(self) -> int:
        """Bytes of all files, before tar and age."""
        return sum(file.size for file in self.files)

    def write(self, out: Writer) -> Written:
        """Second pass, into anything with `write(bytes)`. One at a time.

        Raises Tampered when a file does not come out as it was measured; `out` then holds an age file that does not
        open, to be thrown away. An error of `out` itself is raised as it is.
        """
        reader, writer = _Reader(self._tar()), _CountingWriter(out)
        try:
            pyrage.encrypt_io(reader, writer, [self._recipient])
        except pyrage.EncryptError as error:
            # pyrage passes on only the words of what was raised inside.
            raise (reader.error or writer.error or error) from error
        return Written(writer.size, writer.digest.hexdigest())

    def stream(self) -> Generator[bytes, None, None]:
        """The same as chunks, for an HTTP response. Encrypting runs in a thread that waits for who reads."""
        return _stream(self.write)

    def _tar(self) -> Iterator[bytes]:
        total, done = self.payload_size or 1, 0
        for file in self.files:
            info = tarfile.TarInfo(f"{self.folder}/{file.path}")
            info.size, info.mtime, info.mode = file.size, self._mtime, file.mode
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield from _measured(file)
            yield bytes(-file.size % _BLOCK)
            done += file.size
            self._progress("stream", done / total)
        yield bytes(_RECORD)


def _measured(file: File) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    for data in file.read():
        digest.update(data)
        size += len(data)
        if size > file.size:
            break
        yield data
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise Tampered(f"{file.path} does not come out as it was measured", code="copy-changed")


class _Reader:
    """What pyrage reads from: an iterator behind `read(n)`. Keeps the error it ended with."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return b""
                self._rest = memoryview(chunk)
        except BaseException as error:
            self.error = error
            raise
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


class _CountingWriter:
    def __init__(self, out: Writer) -> None:
        self._out, self.size, self.digest = out, 0, hashlib.sha256()
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self._out.write(data)
        except BaseException as error:
            self.error = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """pyrage asks; whoever owns `out` flushes it."""


class _AbandonedError(VidneError):
    """Nobody reads any more."""


class _QueueWriter:
    def __init__(self) -> None:
        self.queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUE)
        self.abandoned = threading.Event()

    def write(self, data: bytes | BaseException | None) -> None:
        while not self.abandoned.is_set():
            try:
                self.queue.put(data, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _AbandonedError("nobody reads the copy any more")


def _stream(write: Callable[[Writer], Written]) -> Generator[bytes, None, None]:
    pipe = _QueueWriter()

    def run() -> None:
        end: BaseException | None = None
        try:
            write(pipe)
        except BaseException as error:  # noqa: BLE001 - raised again where the chunks are read
            end = error
        if not pipe.abandoned.is_set():
            pipe.write(end)

    thread = threading.Thread(target=run, name="evidence-copy", daemon=True)
    thread.start()
    try:
        while (chunk := pipe.queue.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
    finally:
        pipe.abandoned.set()
        thread.join()
