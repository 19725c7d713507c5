"""First pass of a copy: everything is decrypted and checked, and every file measured. Nothing is kept but figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509

from evidence_store.copies import ranges
from evidence_store.copies.layout import original_path, take_label
from evidence_store.copies.opened import Opened, OpenedTake, check_about, journal_line
from evidence_store.copies.source import CopySource, TakeSource
from evidence_store.copies.timeline import TakeTimeline
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import segment
from evidence_store.sealing.check import Chain, Close, Start, check_close, check_start
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.tick import Kind, is_media


@dataclass(slots=True)
class Measure:
    """Size and SHA-256 of a file that is not there yet."""

    size: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(slots=True)
class Original:
    """One exact media file: a track and init epoch of a take. `codec`: as its init's record names it, or nothing."""

    path: str
    track: TrackEntry
    epoch: int
    codec: str = ""
    measure: Measure = field(default_factory=Measure)


@dataclass(slots=True)
class TakeSurvey:
    """What the first pass found of one take. A void take has neither start nor media."""

    source: TakeSource
    label: str
    start: Start | None
    opened: OpenedTake | None
    timeline: TakeTimeline
    closed: Close | None = None
    originals: dict[tuple[int, int], Original] = field(default_factory=dict)
    journal: Measure = field(default_factory=Measure)
    range_lines: bytearray = field(default_factory=bytearray)

    def in_order(self) -> list[tuple[tuple[int, int], Original]]:
        """Originals by track index and init epoch."""
        return sorted(self.originals.items(), key=lambda item: item[0])

    @property
    def close(self) -> Close:
        assert self.closed is not None  # noqa: S101 - survey_take gives out nothing before its close held
        return self.closed


def survey_take(source: CopySource, position: int, take: TakeSource, at_segment: Callable[[int], None]) -> TakeSurvey:
    """One take, checked from start to close. Raises Tampered, with take, track and second in its words.

    `at_segment` is told how many segments are done. The caller forgets `opened` when the copy is done.
    """
    label = take_label(position)
    if take.start is None:
        device, device_ml_dsa = void_device(take, source.certificates.root)
        close = check_close(take.close, device, device_ml_dsa, None)
        _check_place(take, label, bytes.fromhex(close.record["enrolment"]), close.record["take"])
        return TakeSurvey(take, label, None, None, TakeTimeline.of([]), close)
    start = check_start(take.start, source.certificates.root)
    _check_place(take, label, start.enrolment, start.take)
    if start.interview != source.interview:
        raise ChainBroken(f"{label} belongs to another interview", code="interview-swapped")
    opened, chain = OpenedTake(take, start, source.interview_key, label), Chain(start)
    try:
        found = TakeSurvey(take, label, start, opened, TakeTimeline.of(start.tracks))
        for tick, messages in opened.check(chain):
            _add_tick(found, tick, messages)
            at_segment(tick.record["i"] + 1)
        found.closed = check_close(take.close, start.device_certificate, start.device_ml_dsa_certificate, chain)
    except BaseException:
        opened.forget()
        raise
    return found


def void_device(take: TakeSource, root: x509.Certificate) -> tuple[x509.Certificate, x509.Certificate]:
    """The device certificates of a take that has no start record to name them, checked. Raises InvalidInput."""
    if take.device is None or take.device_ml_dsa is None:
        raise InvalidInput("a void take's device certificates are needed", code="certificate-missing")
    certs.check_issued(take.device, root, certs.device_name(take.enrolment))
    certs.check_issued(take.device_ml_dsa, root, certs.device_ml_dsa_name(take.enrolment))
    return take.device, take.device_ml_dsa


def _add_tick(found: TakeSurvey, tick: segment.Tick, messages: list[Opened]) -> None:
    utc = int(tick.record["utc"])
    found.journal.add(journal_line(tick))
    found.timeline.tell(tick.record)
    for message in messages:
        entry = message.entry
        if not is_media(entry):
            continue
        track = found.timeline.tracks.get(entry["track"])
        if track is None:
            raise ChainBroken(f"{found.label}: a message of a track that the start does not list", code="track-unknown")
        key = entry["track"], entry["epoch"]
        original = found.originals.get(key)
        if original is None:
            path = original_path(found.label, track.entry.id, *key)
            codec = str(entry["about"].get("codec", ""))
            original = found.originals[key] = Original(path, track.entry, entry["epoch"], codec)
        if entry["kind"] == Kind.MEDIA.word:
            check_about(found.label, entry)
            begin, _ = found.timeline.add(entry, utc)
        else:
            begin = track.spans[-1][1] if track.spans else 0
        line = ranges.measured(
            message.data, offset=original.measure.size, tick=tick.record["t"], salt=message.salt, milliseconds=begin,
            utc_ns=utc, track=track.entry.id, kind=entry["kind"], path=original.path,
        ).line()  # fmt: skip
        found.range_lines += line.encode("ascii")
        original.measure.add(message.data)


def _check_place(take: TakeSource, label: str, enrolment: bytes, number: int) -> None:
    if (take.enrolment, take.number) != (enrolment, number):
        raise ChainBroken(f"{label} is another take than asked for", code="take-swapped")
