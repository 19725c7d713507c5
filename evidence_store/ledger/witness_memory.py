"""A witness at work: its key, and what it remembers of each log, in a folder.

    <folder>/name, witness.key      who cosigns (Ed25519, PEM, mode 0600)
    <folder>/logs/<id>.json         one log: its key, the largest head that was cosigned, the last refusal
    <folder>/refused/<id>-<hash>    signed checkpoints that contradict what was cosigned: proof against the log
    <folder>/lock                   held by the one process that may cosign

A witness that forgot is none. What is cosigned is durable before the cosignature exists, and the file is read again
at each request: what a crash or a disk error left behind is what the next request is judged by.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store.canonical import Record, canonical, parse
from evidence_store.durable import fsync_folder, write_durably
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, Unavailable, VidneError
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteVerifier
from evidence_store.ledger.cosignature import Cosigner
from evidence_store.ledger.proof import HEADER, Proof
from evidence_store.ledger.witness import AddCheckpoint, Held, OtherSize, judge, origin_of

MEMORY_TYPE: Final = "vidne/witness-memory/1"
MOST_REFUSED: Final = 100
"""Contradicting checkpoints that are kept for each witness; one is proof enough, and nobody fills the disk."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last time the log was refused. `at`: seconds since 1970; `size`: of its checkpoint. `stands`: nothing since
    has shown it to be harmless; `witness-root` always stands, since two signed heads of one size contradict."""

    at: int
    code: str
    size: int
    stands: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """One log. `note`: the last checkpoint that was cosigned, as it came; `cosigned_at`: seconds since 1970."""

    key: NoteVerifier
    note: bytes | None = None
    cosigned_at: int | None = None
    refusal: Refusal | None = None

    @property
    def held(self) -> Held:
        """Raises SignatureInvalid, InvalidInput for a memory that somebody has written into."""
        if self.note is None:
            return Held(self.key)
        checkpoint = Checkpoint.open(self.note, self.key)
        return Held(self.key, checkpoint.size, checkpoint.root)

    def write(self) -> bytes:
        refusal: Record | None = None
        if self.refusal is not None:
            refused = self.refusal
            refusal = {"at": str(refused.at), "code": refused.code, "size": str(refused.size), "stands": refused.stands}
        return canonical(
            {
                "cosigned_at": None if self.cosigned_at is None else str(self.cosigned_at),
                "log": str(self.key),
                "note": None if self.note is None else self.note.decode("utf-8"),
                "refusal": refusal,
                "type": MEMORY_TYPE,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Remembered:
        """Raises InvalidInput `witness-memory`, SignatureInvalid: such a witness must not cosign."""
        try:
            record = parse(data)
            refused = record["refusal"]
            made = cls(
                NoteVerifier.parse(record["log"]),
                None if record["note"] is None else record["note"].encode("utf-8"),
                None if record["cosigned_at"] is None else int(record["cosigned_at"]),
                None if refused is None
                else Refusal(int(refused["at"]), refused["code"], int(refused["size"]), refused["stands"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput("the witness's memory cannot be read", code="witness-memory") from error
        if made.write() != data:
            raise InvalidInput("the witness's memory is not in its own form", code="witness-memory")
        _ = made.held
        return made


@dataclass(frozen=True, slots=True)
class Checked:
    """What a witness can say of a checkpoint that somebody brings. `cosigned_at`: by itself, seconds since 1970."""

    origin: str
    size: int
    held: int
    cosigned_at: int | None
    same: bool | None


class Witness:
    """One folder, one process. Safe for threads: requests are answered one after the other.

    `clock`: seconds since 1970. Opening makes key and folders where there are none, and reads every memory: one that
    cannot be read keeps the witness from starting. Raises Unavailable `witness-running` where another process has
    the folder, InvalidInput, OSError.
    """

    def __init__(self, folder: Path, clock: Callable[[], int], name: str | None = None) -> None:
        self._folder, self._clock = folder, clock
        for each in (folder, folder / "logs", folder / "refused"):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
            fsync_folder(each.parent)
        # Kept until the process ends, however it ends: two witnesses with one key would cosign two histories.
        self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn = threading.Lock()
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._cosigner = load_or_make_key(folder, name)
            self.verifier = self._cosigner.verifier
            self.logs()
        except BaseException as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise Unavailable("another process is this witness", code="witness-running") from None
            raise

    def close(self) -> None:
        os.close(self._lock_file)

    def trust(self, log: NoteVerifier) -> bool:
        """From now on that log is cosigned. False where it was before. Raises Conflict `witness-log-key` where this
        origin is known under another key: one name, one log."""
        with self._turn:
            path = self._path(log.name)
            if path.exists():
                if self._read(path).key != log:
                    raise Conflict("this log is known under another key", code="witness-log-key")
                return False
            write_durably(path, Remembered(log).write())
            return True

    def logs(self) -> list[Remembered]:
        """Every log that is known, by its origin. Raises InvalidInput, SignatureInvalid."""
        found = [self._read(path) for path in (self._folder / "logs").glob("*.json")]
        return sorted(found, key=lambda each: each.key.name)

    def add_checkpoint(self, data: bytes) -> bytes:
        """Answers an `add-checkpoint` request: the cosignature's line. Raises what `judge` raises, and Unavailable
        `witness-disk` where it cannot be remembered; then nothing is cosigned."""
        request = AddCheckpoint.parse(data)
        with self._turn:
            path = self._path(origin_of(request.note))
            known = self._read(path) if path.exists() else None
            try:
                checkpoint = judge(None if known is None else known.held, request)
            except VidneError as error:
                if known is not None:
                    self._remember_refusal(path, known, request, error)
                raise
            assert known is not None  # noqa: S101 - judge refuses what is not known
            now = self._clock()
            settled = known.refusal
            if settled is not None and settled.code != "witness-root":
                settled = replace(settled, stands=False)
            # A crash before this leaves the old head, and nothing has been cosigned. A crash after it leaves the new
            # head: perhaps nobody got the cosignature, and asking again for the same head gives it.
            self._write(path, replace(known, note=request.note, cosigned_at=now, refusal=settled))
            return self._cosigner.cosign(checkpoint.text(), now).line().encode("utf-8")

    def _remember_refusal(self, path: Path, known: Remembered, request: AddCheckpoint, error: VidneError) -> None:
        """Only what the log itself has signed: nobody else can make a witness remember anything."""
        if not isinstance(error, Conflict | ChainBroken):
            return
        size = Checkpoint.open(request.note, known.key).size
        if isinstance(error, OtherSize) and size >= error.held:
            return  # the asker did not know how far this witness had come
        stands = known.refusal is not None and known.refusal.stands and known.refusal.code == "witness-root"
        if stands and error.code != "witness-root":
            return  # what is proven is not overwritten by what is only strange
        refusal = Refusal(self._clock(), error.code, size, stands=True)
        with suppress(Unavailable):
            if error.code == "witness-root":
                self._keep_proof(path.stem, request.note)
            self._write(path, replace(known, refusal=refusal))

    def _keep_proof(self, log: str, note: bytes) -> None:
        folder = self._folder / "refused"
        if len(list(folder.iterdir())) < MOST_REFUSED:
            self._write_bytes(folder / f"{log}-{hashlib.sha256(note).hexdigest()[:16]}.note", note)

    def _write(self, path: Path, known: Remembered) -> None:
        self._write_bytes(path, known.write())

    def _write_bytes(self, path: Path, data: bytes) -> None:
        try:
            write_durably(path, data)
        except OSError as error:
            raise Unavailable("the witness cannot remember, so it cosigns nothing", code="witness-disk") from error

    def _path(self, origin: str) -> Path:
        return _memory_of(self._folder, origin)

    def _read(self, path: Path) -> Remembered:
        return Remembered.parse(path.read_bytes())


def check(folder: Path, data: bytes) -> Checked:
    """What the witness in that folder, running or not, knows of a checkpoint: a note, or the one in a tlog-proof.

    `same`: whether it is the head that is held, None where the sizes differ. Raises InvalidInput, NotFound
    `witness-log`, SignatureInvalid; OSError where there is no witness.
    """
    note = Proof.parse(data).checkpoint if data.startswith(HEADER.encode()) else data
    verifier = _load_key(folder).verifier
    path = _memory_of(folder, origin_of(note))
    if not path.exists():
        raise NotFound("this witness does not know that log", code="witness-log")
    held = Remembered.parse(path.read_bytes()).held
    checkpoint = Checkpoint.open(note, held.key)
    same = checkpoint.root == held.root if checkpoint.size == held.size else None
    return Checked(checkpoint.origin, checkpoint.size, held.size, verifier.time_of(Note.parse(note)), same)


def _memory_of(folder: Path, origin: str) -> Path:
    return folder / "logs" / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.json"


def load_or_make_key(folder: Path, name: str | None = None) -> Cosigner:
    """The key in the folder, made where there is none. `name`: a schema-less URL that need not lead anywhere; without
    one it is made up. Raises InvalidInput `witness-key`, and where the key has another name already."""
    key_file, name_file = folder / "witness.key", folder / "name"
    if not key_file.exists():
        # The name first: a key with a name that changed later would be another witness.
        kept = name_file.read_text().strip() if name_file.exists() else None
        made = kept or name or f"vidne.example/witness-{os.urandom(4).hex()}"
        if not re.fullmatch(r"[a-z0-9][a-z0-9./-]{0,99}", made):
            raise InvalidInput("a witness's name is made of a-z, 0-9, dots, dashes and slashes", code="witness-name")
        write_durably(name_file, f"{made}\n".encode())
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_durably(key_file, Ed25519PrivateKey.generate().private_bytes(*pem))
    cosigner = _load_key(folder)
    if name not in (None, cosigner.verifier.name):
        raise InvalidInput(f"this witness has a name already: {cosigner.verifier.name}", code="witness-name")
    return cosigner


def _load_key(folder: Path) -> Cosigner:
    key = serialization.load_pem_private_key((folder / "witness.key").read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput("the witness's key is of the wrong kind", code="witness-key")
    return Cosigner((folder / "name").read_text().strip(), key)
