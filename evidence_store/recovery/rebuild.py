"""Rebuilds one interview from bytes alone: a copy of the vault, the escrow, and the recovery key. No database.

Clear media is written to disk here, and only here, into the folder that was given: that is what somebody asked for
who has the house's recovery key in their hands. Every tick is checked before its media is written; where one does not
hold, the take's file ends before it, and that is a finding.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from evidence_store.canonical import Record
from evidence_store.copies.cms import check_cms
from evidence_store.copies.layout import original_path, take_label
from evidence_store.copies.listed import parse_manifest
from evidence_store.copies.opened import OpenedTake
from evidence_store.copies.revocations import check_none_doubtful, check_revocation
from evidence_store.copies.source import TakeSource
from evidence_store.durable import fsync_folder
from evidence_store.errors import ChainBroken, InvalidInput, NotFound, VidneError
from evidence_store.keystore import Escrow
from evidence_store.recovery import copied
from evidence_store.recovery.copied import CopiedVault
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import check, journal
from evidence_store.sealing.keys import PrivateKey
from evidence_store.sealing.manifest import check_ml_dsa
from evidence_store.sealing.revocation import SignedRevocation
from evidence_store.sealing.tick import is_media

PROVEN: Final = (
    "Every byte written was sealed by a device of this house, in this order, for this interview, and is as it was.",
    "A take that is called whole is whole from its start to its close.",
    "The takes are those, and the gaps those, that the store's manifest states, where a manifest is named above.",
)
NOT_PROVEN: Final = (
    "Who saw it, copied it and why: custody is in the database, which was not used.",
    "That nothing came after what this copy of the vault holds, beyond the checkpoint that was given.",
    "When it was, beyond the clocks of recorder and store; and that a recorder was honest while it ran.",
    "Whether a device was revoked after this copy was made.",
)


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


@dataclass(slots=True)
class Recovered:
    """What came of it. `files`: what was written, by name, with its SHA-256."""

    found: list[Found] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return bool(self.files) and all(each.ok for each in self.found)


class Rebuild:
    """`tell` is called with each finding as it is made. `out` is there, and empty."""

    def __init__(
        self,
        vault: Path,
        escrow: Path,
        interview: str,
        fingerprint: str,
        recovery: PrivateKey,
        out: Path,
        tell: Callable[[Found], None],
    ) -> None:
        self._vault = CopiedVault(vault)
        self._escrow = escrow
        self._interview = interview
        self._fingerprint = fingerprint
        self._recovery = recovery
        self._out = out
        self._tell = tell
        self._report = Recovered()

    def run(self, checkpoint: bytes | None = None) -> Recovered:
        """Everything that can be had of the interview. `checkpoint`: the last one that somebody else kept."""
        try:
            signers = copied.signers(self._vault, self._fingerprint)
            self._say("root", True, f"the certificates are of the house with fingerprint {self._fingerprint[:16]}…")
            self._ledger(signers, checkpoint)
            private = Escrow(self._escrow).recover(self._interview, self._recovery)
            self._say("key", True, "the interview's key is in escrow and opens with these lists")
            takes = self._takes(signers)
        except (VidneError, FileNotFoundError) as error:
            return self._stopped(error)
        for position, (take, start) in enumerate(takes):
            self._take(take_label(position), take, start, private)
        self._step("manifest", lambda: self._manifest(signers, takes))
        self._step("devices", lambda: self._devices(signers, takes))
        fsync_folder(self._out)
        return self._report

    def _stopped(self, error: Exception) -> Recovered:
        code = f" ({error.code})" if isinstance(error, VidneError) else ""
        self._say("stopped", False, f"{error}{code}. No media was written")
        return self._report

    def _say(self, name: str, ok: bool, detail: str) -> None:
        found = Found(name, ok, detail)
        self._report.found.append(found)
        self._tell(found)

    def _step(self, name: str, work: Callable[[], str]) -> None:
        try:
            self._say(name, True, work())
        except VidneError as error:
            self._say(name, False, f"{error} ({error.code})")
        except (ValueError, TypeError, LookupError) as error:
            self._say(name, False, f"cannot be read: {type(error).__name__} (unreadable)")

    def _ledger(self, signers: copied.Signers, checkpoint: bytes | None) -> None:
        def look() -> str:
            known = copied.heads(self._vault, signers.issued(certs.LEDGER))
            if checkpoint is None:
                return f"{len(known.by_size)} checkpoints of this house; none was given to hold them against"
            return copied.remembered(known, checkpoint)

        self._step("checkpoint", look)

    def _takes(self, signers: copied.Signers) -> list[tuple[TakeSource, check.Start]]:
        """The interview's takes in the order they were started. Raises NotFound where there are none."""
        found = []
        for name, start in copied.starts(self._vault, signers.root):
            if isinstance(start, VidneError):
                self._say(f"start {name.split('/')[2]}", False, f"{start} ({start.code})")
            elif start.interview.hex() == self._interview:
                prefix = PurePosixPath(name).parent.as_posix()
                found.append((self._source(prefix, self._vault.get(name), start), start))
        if not found:
            raise NotFound("no take of this interview is in this copy", code="take")
        return sorted(found, key=lambda each: (each[1].utc_ns, each[1].take))

    def _source(self, prefix: str, start_data: bytes, start: check.Start) -> TakeSource:
        named = [name.rpartition("/")[2] for name in self._vault.names(f"{prefix}/segments")]
        segments = [int(each) for each in named if each.isdecimal()]

        def read(index: int) -> bytes:
            try:
                return self._vault.get(f"{prefix}/segments/{index:06d}")
            except NotFound:
                raise ChainBroken(f"segment {index} is not in this copy", code="segment-missing") from None

        try:
            close = self._vault.get(f"{prefix}/close.json")
        except NotFound:
            close = b""
        return TakeSource(start.enrolment, start.take, start_data, close, max(segments, default=-1) + 1, read)

    def _take(self, label: str, take: TakeSource, start: check.Start, private: PrivateKey) -> None:
        chain = check.Chain(start)

        def play() -> str:
            public = journal.unb64(start.record["interview"]["public_key"])
            if private.public_key().encoded != public:
                raise ChainBroken("the take was sealed to another key than the one in escrow", code="seed-mismatch")
            opened = OpenedTake(take, start, private, label)
            try:
                with _Files(self._out, label, opened) as files:
                    try:
                        for _, messages in opened.check(chain):
                            for message in messages:
                                files.write(message.entry, message.data)
                    finally:
                        self._report.files |= files.finish()
            finally:
                opened.forget()
            return self._closed(take, start, chain)

        self._step(f"{label} (device {start.enrolment.hex()[:8]}, number {start.take})", play)

    def _closed(self, take: TakeSource, start: check.Start, chain: check.Chain) -> str:
        if not take.close:
            raise ChainBroken(f"opens up to tick {chain.tick}, and was never closed in this copy", code="take-open")
        close = check.check_close(take.close, start.device_certificate, start.device_ml_dsa_certificate, chain)
        tail = f"takes/{start.enrolment.hex()}/{start.take:06d}/tail"
        check.check_torn(close.record, self._vault.get(tail) if close.record["torn"] is not None else None, chain)
        return f"whole and {close.how}, {chain.tick + 1} ticks in {chain.index + 1} segments, each checked and opened"

    def _manifest(self, signers: copied.Signers, takes: list[tuple[TakeSource, check.Start]]) -> str:
        folder = f"interviews/{self._interview}"
        names = [name for name in self._vault.names(folder) if name.endswith(".json")]
        if not names:
            raise NotFound("the interview was not sealed in this copy: there may be more takes", code="manifest")
        data = self._vault.get(names[-1])
        check_cms(data, self._vault.get(f"{names[-1]}.p7s"), signers.issued(certs.STORE), signers.root)
        check_ml_dsa(data, self._vault.get(f"{names[-1]}.mldsa65"), signers.issued(certs.STORE_ML_DSA))
        stated = parse_manifest(data)
        self._agrees(stated, takes)
        return f"both signatures hold; {len(stated['takes'])} takes and {len(stated['gaps'])} gaps, as found"

    def _devices(self, signers: copied.Signers, takes: list[tuple[TakeSource, check.Start]]) -> str:
        """What this copy holds of revocations, and which takes that leaves doubtful."""
        names = [name for name in self._vault.names("revocations") if name.endswith(".json")]
        found = [
            check_revocation(
                SignedRevocation(*(self._vault.get(f"{name}{suffix}") for suffix in ("", ".p7s", ".mldsa65"))),
                signers.issued(certs.STORE), signers.issued(certs.STORE_ML_DSA), signers.root,
            )
            for name in names
        ]  # fmt: skip
        closed = [
            (take_label(at), take.enrolment, take.number, None if not take.close else _head(take.close))
            for at, (take, _) in enumerate(takes)
        ]
        return check_none_doubtful(found, closed)

    def _agrees(self, stated: Record, takes: list[tuple[TakeSource, check.Start]]) -> None:
        """The manifest names the takes that were found, void numbers aside: they have neither start nor media."""
        if stated["interview"] != self._interview:
            raise ChainBroken("the manifest is of another interview", code="manifest-mismatch")
        begun = [(each["start"], each["close"]) for each in stated["takes"] if each["start"] is not None]
        here = [
            (start.start_hash.hex(), journal.close_hash(journal.decode_envelope(take.close)[0]).hex())
            for take, start in takes
            if take.close
        ]
        if sorted(begun) != sorted(here) or len(here) != len(takes):
            raise ChainBroken("the manifest names other takes than this copy holds", code="manifest-mismatch")


def _head(close: bytes) -> bytes | None:
    text = journal.decode_envelope(close)[0]["head"]
    return None if text is None else bytes.fromhex(text)


class _Files:
    """One file for each track and init epoch of a take, made when its first byte comes."""

    def __init__(self, folder: Path, label: str, opened: OpenedTake) -> None:
        self._folder, self._label, self._opened = folder, label, opened
        self._files: dict[tuple[int, int], tuple[str, BinaryIO, hashlib._Hash]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, entry: Record, data: bytes) -> None:
        if not is_media(entry):
            return
        key = entry["track"], entry["epoch"]
        if key not in self._files:
            track = self._opened.tracks.get(entry["track"])
            if track is None:
                raise ChainBroken("media of a track that the start does not list", code="track-unknown")
            name = PurePosixPath(original_path(self._label, track.id, *key)).name
            descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._files[key] = name, self._stack.enter_context(os.fdopen(descriptor, "wb")), hashlib.sha256()
        _, file, digest = self._files[key]
        file.write(data)
        digest.update(data)

    def finish(self) -> dict[str, str]:
        """Durable when it returns; names with their hashes."""
        for _, file, _ in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: digest.hexdigest() for name, _, digest in self._files.values()}


def report_lines(report: Recovered) -> Iterator[str]:
    """What a person reads at the end, and what is kept beside the files."""
    for name, digest in sorted(report.files.items()):
        yield f"{digest}  {name}"
    yield "Proven, where every line above says OK:"
    yield from (f"  {each}" for each in PROVEN)
    yield "Not proven:"
    yield from (f"  {each}" for each in NOT_PROVEN)


def empty_folder(out: Path) -> None:
    """Makes the folder, or takes an empty one. Raises InvalidInput: nothing that is there is written over."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(out.iterdir()):
        raise InvalidInput("the folder is not empty", code="out-folder")
