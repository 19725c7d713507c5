"""At boot: every take that was left open is closed by the device, and its durable prefix goes the ordinary way.

Runs before anything is recorded, reads headers and the last segment only, and can itself be cut off at any line: the
next boot finds the same takes and does the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evidence_store import domains
from evidence_store.canonical import Record
from evidence_store.errors import Tampered
from evidence_store.sealing import check, journal, segment
from recorder.device import Device
from recorder.sealer import Previous
from recorder.spool import Spool, TakeFolder, fsync_folder, write_durably


@dataclass(frozen=True, slots=True)
class Recovered:
    """A take that was found open. `torn_bytes`: what was cut off its end and kept aside."""

    take: TakeFolder
    how: journal.Ending
    head: bytes | None
    torn_bytes: int
    last_alive_utc_ns: int


def recover(spool: Spool, device: Device, utc_ns: int) -> list[Recovered]:
    """Closes every open take of this device. Raises NoSpace where a close can't be written."""
    spool.lost_number(device.enrolment)
    closed = []
    for take in spool.takes():
        if take.enrolment == device.enrolment and not take.close.exists():
            closed.append(_close(take, device, utc_ns))
    return closed


def previous_take(spool: Spool, device: Device) -> Previous | None:
    """The last take that has a journal, for the next start record."""
    for take in reversed(spool.takes()):
        if take.enrolment == device.enrolment and take.close.exists():
            record, _ = journal.decode_envelope(take.close.read_bytes())
            if record["head"] is not None:
                return Previous(take.take, bytes.fromhex(record["head"]))
    return None


def _close(take: TakeFolder, device: Device, utc_ns: int) -> Recovered:
    if not take.start.exists():
        found = Recovered(take, journal.Ending.VOID, None, 0, utc_ns)
        _write_close(device, found, None, None, [], None, utc_ns)
        return found
    start = check.check_start(take.start.read_bytes(), device.certificates.root)
    files = take.segments()
    torn = _cut_torn_tail(take, start, files)
    files = take.segments()
    headers = [_header(path) for path in files]
    last_tick = _last_tick(files[-1]) if files else None
    head = start.start_hash
    if last_tick is not None:
        head = _head_after(headers[-1], files[-1])
    heads = [header.head for header in headers[1:]] + [head]
    hashes = [segment.segment_hash(header, after) for header, after in zip(headers, heads, strict=False)]
    last = None if last_tick is None else (last_tick["i"], last_tick["t"])
    alive = start.utc_ns if last_tick is None else int(last_tick["utc"])
    found = Recovered(take, journal.Ending.CRASHED, head, 0 if torn is None else torn[1], alive)
    _write_close(device, found, start.start_hash, last, hashes, torn, utc_ns)
    return found


def _write_close(
    device: Device,
    found: Recovered,
    start: bytes | None,
    last: tuple[int, int] | None,
    hashes: list[bytes],
    torn: tuple[bytes, int] | None,
    utc_ns: int,
) -> None:
    record = journal.close_record(
        enrolment=device.enrolment,
        take=found.take.take,
        start=start,
        last=last,
        head=found.head,
        segments=hashes,
        how=found.how,
        torn=torn,
        last_alive_utc_ns=found.last_alive_utc_ns,
        closed_utc_ns=utc_ns,
    )
    write_durably(found.take.close, journal.sign_close(record, device.signers(None)))


def _header(path: Path) -> segment.Header:
    with path.open("rb") as file:
        return segment.read_header(file.read(len(segment.MAGIC) + 4 + segment.MAX_HEADER))[0]


def _chain_at(header: segment.Header, start: check.Start) -> check.Chain:
    """A chain that stands just before this segment, taking the header's word: the store checks the whole."""
    return check.Chain(start, header.head, header.index - 1, header.first_tick - 1)


def _cut_torn_tail(take: TakeFolder, start: check.Start, files: list[Path]) -> tuple[bytes, int] | None:
    """Moves what is not whole at the end of the last file into `tail`; hash and length of it.

    A crash between writing the tail and cutting the file: the next boot writes the same tail again.
    """
    if files:
        data = files[-1].read_bytes()
        try:
            whole = _chain_at(segment.read_header(data)[0], start).durable_prefix(data)
        except Tampered:
            whole = 0
        if whole < len(data):
            write_durably(take.tail, data[whole:])
            if whole:
                descriptor = os.open(files[-1], os.O_WRONLY)
                try:
                    os.ftruncate(descriptor, whole)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            else:
                files[-1].unlink()
                fsync_folder(take.path)
    if not take.tail.exists():
        return None
    tail = take.tail.read_bytes()
    return domains.sha256(domains.TAIL, tail), len(tail)


def _last_tick(path: Path) -> Record:
    data = path.read_bytes()
    _, at = segment.read_header(data)
    return list(segment.ticks(data, at))[-1].record


def _head_after(header: segment.Header, path: Path) -> bytes:
    data, head = path.read_bytes(), header.head
    _, at = segment.read_header(data)
    for tick in segment.ticks(data, at):
        head = journal.next_head(head, tick.record_bytes)
    return head
