"""What a browser can be shown of a picture track that lost packets: whole pictures that rest on whole ones.

A picture with a hole in it is evidence, and is kept. To a browser's decoder it is an error, after which nothing is
shown any more; what is coded as a change of it comes out smeared or is an error too. So the player is given neither:
from where a declared loss begins to the next key frame the last whole picture stands, with its sound, and it is said.
ISO/IEC 14496-12, section 8.8 (movie fragments). Pure: reads and gives bytes.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final, NamedTuple

from evidence_store.errors import InvalidInput
from evidence_store.fragments import OFFSETS, ROWS, Fragment, Sample, read_fragments

DAMAGING: Final = frozenset({"loss", "incomplete", "malformed", "spool-full", "spool-failing", "sealer-behind"})
"""Reasons of gaps after which a stream goes on with what rests on what is missing."""

_GOES_ON: Final = DAMAGING | {"discontinuity"}
"""Reasons of gaps in which a camera went on sending. In all others there is nothing to wait for with a picture."""

_GREATEST: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Loss:
    """A declared gap of a track, in its timescale. `lacking`: packets or units of it are known to be missing."""

    begin: int
    end: int
    reason: str
    lacking: bool = False

    @property
    def damages(self) -> bool:
        """Whether a picture in it may lack something, or one after it rest on what is missing."""
        return self.lacking or self.reason in DAMAGING


class Stretch(NamedTuple):
    """No picture between `begin` and `end` is shown. The one before stands until `stands`, and then there is none."""

    begin: int
    end: int
    stands: int


@dataclass(frozen=True, slots=True)
class Unshown:
    """Of one picture track: stretches in order, of which none touches another. Times in its timescale.

    `begins`: when what was recorded together begins, in order.
    """

    stretches: tuple[Stretch, ...] = ()
    begins: tuple[int, ...] = ()

    @classmethod
    def of(cls, losses: Iterable[Loss], keys: Iterable[int], end: int, begins: Iterable[int] = ()) -> Unshown:
        """`keys` is when key frames are shown, `end` where the track ends."""
        keys, found = sorted(keys), list[Stretch]()
        losses = sorted(losses, key=lambda each: each.begin)
        for loss in losses:
            if not loss.damages:
                continue
            after = bisect.bisect_left(keys, loss.end)
            until = keys[after] if after < len(keys) else max(end, loss.end)
            if found and loss.begin <= found[-1].end:
                found[-1] = found[-1]._replace(end=max(found[-1].end, until))
            elif loss.begin < until:
                found.append(Stretch(loss.begin, until, until))
        for number, each in enumerate(found):
            over = (
                loss.begin for loss in losses if loss.reason not in _GOES_ON and each.begin <= loss.begin < each.end
            )
            found[number] = each._replace(stands=min(over, default=each.end))
        if found and not any(key < found[0].begin for key in keys):
            # There is none before it.
            found[0] = found[0]._replace(stands=found[0].begin)
        return cls(tuple(found), tuple(sorted(begins)))

    def before(self, time: int) -> int:
        """How many begin at that time or before it."""
        return bisect.bisect_right(self.stretches, time, key=lambda each: each.begin)

    def hides(self, time: int) -> bool:
        """Whether a picture that is shown at that time is left out."""
        begun = self.before(time)
        return begun > 0 and time < self.stretches[begun - 1].end

    def stands(self, time: int, before: int | None) -> int | None:
        """Until when the picture of that time stands for want of another one, if none is shown until `before`.

        None if the next stretch begins later, or there is none.
        """
        number = self.before(time)
        if number == len(self.stretches) or (before is not None and self.stretches[number].begin > before):
            return None
        return self.stretches[number].stands

    def recorded_after(self, time: int) -> int:
        """When what was recorded next begins; that time, if nothing was."""
        after = bisect.bisect_right(self.begins, time)
        return self.begins[after] if after < len(self.begins) else time


@dataclass(frozen=True, slots=True)
class _Run:
    """Samples in a row, of one fragment. `head`: boxes that stay as they are (mfhd, tfhd). `whole`: the fragment's
    bytes, as long as this is all of it."""

    head: tuple[bytes, bytes]
    samples: list[Sample]
    whole: memoryview | None = None


def whole_pictures(media: bytes | memoryview, unshown: Unshown) -> bytes | memoryview:
    """The fragments (moof and mdat) of a picture track without what is not shown; the picture before it lasts instead.

    Nothing may be left. A fragment that no stretch touches is given as it is. Raises InvalidInput `media-form`.
    """
    if not unshown.stretches:
        return media
    try:
        recorded = list(read_fragments(memoryview(media)))
    except ValueError as error:
        raise InvalidInput("not a fragment", code="media-form") from error
    runs = list(_kept(recorded, unshown))
    # A stretch may begin where the segment ends, after its last picture.
    end = recorded[-1].samples[-1] if recorded else None
    given: list[_Run] = []
    for run, after in zip_longest(runs, runs[1:]):
        last = max(run.samples, key=lambda each: each.shown)
        before = after.samples[0].shown if after else None
        if after is None and run.samples[-1] is end:
            before = max(last.shown + 2 * last.duration, unshown.recorded_after(last.shown))
        given += _held(run, last, unshown.stands(last.shown, before))
    return b"".join(run.whole or _written(run) for run in given)


def _kept(recorded: list[Fragment], unshown: Unshown) -> Iterator[_Run]:
    """What is shown of them, in runs without a hole, each on one side of every stretch."""
    broken, key_shown = False, 0
    for fragment in recorded:
        part: list[Sample] = []
        for sample in fragment.samples:
            hidden = unshown.hides(sample.shown)
            if sample.key:
                broken = hidden
                key_shown = sample.shown
            elif hidden and sample.shown >= key_shown:
                # What is sent after it rests on it, even if shown before it. What is sent after a key frame and shown
                # before that rests on what was before the key frame, and nothing but its like rests on it.
                broken = True
            if hidden or broken:
                continue
            if part and not _joined(part[-1], sample, unshown):
                yield _Run(fragment.head, part)
                part = []
            part.append(sample)
        if part:
            yield _Run(fragment.head, part, fragment.whole if len(part) == len(fragment.samples) else None)


def _joined(one: Sample, after: Sample, unshown: Unshown) -> bool:
    """Whether a run holds both: nothing was left out between them, and no stretch begins there."""
    together = one.decoded + one.duration == after.decoded
    return together and unshown.before(one.shown) == unshown.before(after.shown)


def _held(run: _Run, last: Sample, until: int | None) -> Iterator[_Run]:
    """Has the picture of the run that is shown last be shown until then. Others may be sent after it."""
    if until is None or until <= last.shown + last.duration:
        yield run
        return
    at = run.samples.index(last)
    held = replace(last, duration=min(until - last.shown, _GREATEST))
    yield _Run(run.head, [*run.samples[:at], held])
    if rest := run.samples[at + 1 :]:
        yield _Run(run.head, rest)


def _written(run: _Run) -> bytes:
    """As the recorder lays a fragment out: offsets between sending and showing are there when one of them is not 0."""
    offsets = any(each.shown != each.decoded for each in run.samples)
    row = struct.Struct(">IIIi" if offsets else ">III")
    table = b"".join(
        row.pack(each.duration, len(each.data), each.flags, *([each.shown - each.decoded] if offsets else []))
        for each in run.samples
    )
    header, track = run.head
    time = struct.pack(">I4sIQ", 20, b"tfdt", 1 << 24, run.samples[0].decoded)
    flags = 1 << 24 | ROWS | (OFFSETS if offsets else 0)
    traf = 8 + len(track) + len(time) + 20 + len(table)
    moof = 8 + len(header) + traf
    samples = struct.pack(">I4sIII", 20 + len(table), b"trun", flags, len(run.samples), moof + 8)
    data = [each.data for each in run.samples]
    return b"".join(
        (
            struct.pack(">I4s", moof, b"moof"), header, struct.pack(">I4s", traf, b"traf"), track, time, samples, table,
            struct.pack(">I4s", 8 + sum(map(len, data)), b"mdat"), *data,
        )
    )  # fmt: skip
