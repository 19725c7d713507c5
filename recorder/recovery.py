"""Every take that was left open is closed by the device, and its durable prefix goes the ordinary way.

Runs at boot and before each take, never beside one; reads headers and the last segment only; and can itself be cut
off at any line: the next time finds the same takes and does the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from evidence_store import domains
from evidence_store.durable import fsync_folder
from evidence_store.errors import ChainBroken, InvalidInput, KeysOutOfReach, NoSpace, Tampered
from evidence_store.sealing import check, journal, segment
from recorder.device import Device
from recorder.sealer import Previous
from recorder.spool import Spool, TakeFolder, write_durably

log = structlog.get_logger()

_LOOK_BACK = 16
"""Closes that are looked at for one with a journal: void takes come seldom, and never in rows."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A take that was found open. `torn_bytes`: what was cut off its end and kept aside."""

    take: TakeFolder
    how: journal.Ending
    head: bytes | None
    torn_bytes: int
    last_alive_utc_ns: int


@dataclass(slots=True)
class Recovery:
    """`closed`: what was found open and is closed now. `left`: take numbers that could not be closed, an alarm."""

    closed: list[Recovered] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    full: bool = False
    """True where a close is tried again: the disk had no room for it, or the device's token was away."""


def recover(spool: Spool, device: Device, utc_ns: int) -> Recovery:
    """Closes every open take of this device, on a full disk from the reserve.

    One that can't be closed (no room even so, or its files no longer agree with themselves) is left as it is and
    named: it keeps neither the others nor the next recording back.
    """
    with spool.standing:
        return _recover(spool, device, utc_ns)


def _recover(spool: Spool, device: Device, utc_ns: int) -> Recovery:
    found = Recovery()
    try:
        spool.lost_number(device.enrolment)
    except NoSpace:
        found.full = True
        found.left.append(spool.highest_take())
    left_open = [take for take in spool.takes() if take.enrolment == device.enrolment and not take.close.exists()]
    for at, take in enumerate(left_open):
        try:
            closed = _close_somehow(take, spool, device, utc_ns)
        except KeysOutOfReach:  # the device's token is away: each of them would wait for it anew
            found.full = True
            found.left += [each.take for each in left_open[at:]]
            break
        except NoSpace:  # tried again
            found.full = True
            found.left.append(take.take)
        except (Tampered, InvalidInput, OSError) as error:
            log.error("take_left_open", take=take.take, error=getattr(error, "code", type(error).__name__))
            found.left.append(take.take)
        else:
            log.warning("take_recovered", take=take.take, how=closed.how, torn_bytes=closed.torn_bytes)
            found.closed.append(closed)
    return found


def previous_take(spool: Spool, device: Device) -> Previous | None:
    """The last take that has a journal, for the next start record."""
    with spool.standing:
        closes = [take.close for take in spool.takes() if take.enrolment == device.enrolment and take.close.exists()]
        candidates = [path.read_bytes() for path in closes[-_LOOK_BACK:]]
        removed = spool.last_removed_close()
    for close in [*reversed(candidates), *([] if removed is None else [removed])]:
        if (found := _previous(close, device)) is not None:
            return found
    return None


def _previous(close: bytes, device: Device) -> Previous | None:
    try:
        record, _ = journal.decode_envelope(close)
    except InvalidInput as error:
        log.error("close_not_readable", code=error.code)
        return None
    if record["head"] is None or record["enrolment"] != device.enrolment.hex():
        return None
    return Previous(record["take"], bytes.fromhex(record["head"]))


def _close_somehow(take: TakeFolder, spool: Spool, device: Device, utc_ns: int) -> Recovered:
    try:
        return _close(take, device, utc_ns)
    except NoSpace:
        spool.spend_reserve()
        return _close(take, device, utc_ns)


def _close(take: TakeFolder, device: Device, utc_ns: int) -> Recovered:
    if not take.start.exists():
        found = Recovered(take, journal.Ending.VOID, None, 0, utc_ns)
        _write_close(device, found, None, None, [], None, utc_ns)
        return found
    start = check.check_start(take.start.read_bytes(), device.certificates.root)
    torn = _cut_torn_tail(take, start, take.segments())
    files = take.segments()
    headers = [_header(path) for path in files]
    _check_places(headers, start)
    head, last, alive = start.start_hash, None, start.utc_ns
    if files:
        ticks = _ticks(files[-1])
        head = headers[-1].head
        for tick in ticks:
            head = journal.next_head(head, tick.record_bytes)
        record = ticks[-1].record
        last, alive = (record["i"], record["t"]), int(record["utc"])
    heads = [header.head for header in headers[1:]] + [head]
    hashes = (
        [segment.segment_hash(header, after) for header, after in zip(headers, heads, strict=True)] if files else []
    )
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


def _check_places(headers: list[segment.Header], start: check.Start) -> None:
    """Raises ChainBroken. What lies between the headers is the store's to check: it walks every tick."""
    for index, header in enumerate(headers):
        if (header.start_hash, header.index) != (start.start_hash, index):
            raise ChainBroken("a spool file is missing or of another take", code="segment-missing")
    if headers and (headers[0].first_tick, headers[0].head) != (0, start.start_hash):
        raise ChainBroken("the first spool file does not begin at the start", code="segment-order")


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
        if whole < len(data) or not data:
            if data:
                write_durably(take.tail, data[whole:])
            if whole:
                descriptor = os.open(files[-1], os.O_WRONLY)
                try:
                    os.ftruncate(descriptor, whole)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            else:
                # Not one whole tick, or the crash came between the file and its first byte.
                files[-1].unlink()
                fsync_folder(take.path)
    if not take.tail.exists():
        return None
    tail = take.tail.read_bytes()
    return domains.sha256(domains.TAIL, tail), len(tail)


def _ticks(path: Path) -> list[segment.Tick]:
    data = path.read_bytes()
    _, at = segment.read_header(data)
    return list(segment.ticks(data, at))
