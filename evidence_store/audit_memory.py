"""What an audit that was cut short had looked at already, so that the next one goes on from there.

A file of lines in a folder of the audit's own: which recording, what it was when it was read, and when that was. "What
it was" covers every row and every object that the check read, and of each object what the file system shows of its
last change, which no write leaves as it was. A recording of which anything is different is read again, whole.

Not signed: whoever can write here can run another audit, or another program, in this one's place. What an earlier run
looked at is told with its time, is believed for a week at most, and `--afresh` believes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from evidence_store.canonical import Record, canonical, parse
from evidence_store.durable import fsync_folder, write_durably
from evidence_store.errors import Conflict, InvalidInput, VidneError
from evidence_store.vault.vault import StoredObject, Vault

VERSION: Final = 1
"""Of what an audit looks at: one that looks at more believes nothing of one that looked at less."""
BELIEVED_FOR_NS: Final = 7 * 24 * 3600 * 10**9
_TYPE: Final = "vidne/audit-memory/1"


@runtime_checkable
class Watched(Protocol):
    """A vault that shows of each object, without reading it, whether it was written to since."""

    def last_change(self, name: str) -> str:
        """Another text after every write. Raises NotFound `object`, OSError."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was said of something that held, and when (nanoseconds UTC)."""

    said: str
    at: int


class AuditMemory:
    """The memory of one store's audits in `folder`. To be used inside `held`; `about` names store and keys."""

    def __init__(self, folder: Path, about: Record, now: int, *, afresh: bool = False) -> None:
        self._path = folder / "checked.jsonl"
        self._folder = folder
        self._head: Record = {"about": about, "type": _TYPE, "version": VERSION}
        self._now = now
        self._afresh = afresh
        self._known: dict[str, tuple[str, Checked]] = {}
        self.heads: list[str] = []
        """Checkpoints that earlier runs met, which the ledger has to continue."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Reads what there is, and keeps another audit out. Raises Conflict `audit-running`, OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("another audit of this store is running", code="audit-running") from None
            self._read()
            yield
        finally:
            os.close(lock)

    def met(self, note: bytes) -> None:
        """The ledger's newest checkpoint as this run begins."""
        self._append({"head": note.decode()})

    def known(self, what: str, was: str | None) -> Checked | None:
        """What an earlier run found, where nothing has changed since. `was`: None for what cannot be told."""
        found = self._known.get(what)
        return found[1] if found is not None and found[0] == was else None

    def remember(self, what: str, was: str | None, said: str) -> None:
        """What held. When this returns, a run after a power cut knows it too. `was` is of before it was read."""
        if was is not None:
            self._append({"at": str(self._now), "said": said, "was": was, "what": what})

    def forget(self) -> None:
        """The audit has come to its end: the next one looks at everything."""
        self._path.unlink(missing_ok=True)
        fsync_folder(self._folder)

    def _read(self) -> None:
        lines = [] if self._afresh or not self._path.exists() else self._path.read_bytes().splitlines(keepends=True)
        records = list(_records(lines))
        if not records or records[0] != self._head:
            write_durably(self._path, canonical(self._head) + b"\n")
            return
        if len(records) < len(lines):
            # A line that was being written when the power went: what comes next begins a line of its own.
            write_durably(self._path, b"".join(lines[: len(records)]))
        for record in records[1:]:
            if "head" in record:
                self.heads.append(str(record["head"]))
                continue
            at = int(record["at"])
            if 0 <= self._now - at <= BELIEVED_FOR_NS:
                self._known[str(record["what"])] = (str(record["was"]), Checked(str(record["said"]), at))

    def _append(self, record: Record) -> None:
        with self._path.open("ab") as file:
            file.write(canonical(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _records(lines: Sequence[bytes]) -> Iterator[Record]:
    """Those that are whole, up to the first that is not."""
    for line in lines:
        try:
            if not line.endswith(b"\n"):
                return
            yield parse(line[:-1])
        except InvalidInput:
            return


def fingerprint(vault: Vault, stored: Iterable[StoredObject]) -> str | None:
    """What these objects are now, as the vault shows them; None where it does not show it, or lacks one of them."""
    if not isinstance(vault, Watched):
        return None
    digest = hashlib.sha256()
    try:
        for each in stored:
            line = f"{each.name} {each.sha256.hex()} {each.size} {vault.last_change(each.name)}\n"
            digest.update(line.encode())
    except (VidneError, OSError):
        return None
    return digest.hexdigest()


def recording_of(name: str) -> str | None:
    """What an object is remembered with: its take, or a thousand checkpoints; None for what is always read again."""
    first, *rest = name.split("/")
    if first == "takes" and len(rest) > 2:
        return "/".join((first, *rest[:2]))
    if name.startswith("ledger/checkpoints/"):
        return name[:-3]
    return None
