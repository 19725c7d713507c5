"""The recorder's disk: what is durable when, what a full disk leaves, and which numbers are honest afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evidence_store.errors import NoSpace
from evidence_store.sealing import journal
from recorder.spool import RESERVE_SIZE, SegmentFile, Spool, TakeFolder, write_durably

ENROLMENT = bytes(range(16))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 4 MiB that fills up. Where mounting is not allowed, the tests that need it are skipped."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "vidne-test", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a real full disk needs the right to mount one; the stand-in is tested all the same")
    yield disk
    subprocess.run(["umount", disk], check=True)


def closed(spool: Spool, take: TakeFolder, head: bytes | None = bytes(32)) -> None:
    record = journal.close_record(
        enrolment=take.enrolment, take=take.take, start=None, last=None, head=head, segments=[],
        how=journal.Ending.VOID, torn=None, last_alive_utc_ns=0, closed_utc_ns=0,
    )  # fmt: skip
    write_durably(take.close, journal.encode_envelope(record, {}))


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the kernel that decides whether something survives a power cut, in order."""
    seen: list[str] = []

    def noticed(name: str, really: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            seen.append(name)
            return really(*given, **more)

        return call

    for name in ("fsync", "fdatasync", "rename"):
        monkeypatch.setattr(os, name, noticed(name, getattr(os, name)))
    return seen


def test_written_content_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = calls(monkeypatch)
    write_durably(tmp_path / "counter", b"1")
    assert seen == ["fsync", "rename", "fsync"]


def test_a_frame_is_synced_and_a_new_files_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    file = SegmentFile(spool.new_take(ENROLMENT).segment(0), spool)
    seen = calls(monkeypatch)
    file.append(b"first")
    file.append(b"second")
    assert seen == ["fdatasync", "fsync", "fdatasync"]


def test_the_number_is_durable_before_anything_else_of_the_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)

    def died(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", died)
    with pytest.raises(KeyboardInterrupt):
        spool.new_take(ENROLMENT)
    monkeypatch.undo()
    again = Spool(tmp_path)
    assert again.highest_take() == 1
    lost = again.lost_number(ENROLMENT)
    assert lost is not None
    assert lost.take == 1
    assert again.lost_number(ENROLMENT) is None
    assert again.new_take(ENROLMENT).take == 2


def test_a_counter_that_is_lost_gives_no_number_twice(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.new_take(ENROLMENT)
    spool.new_take(ENROLMENT)
    (tmp_path / "counter").unlink()
    assert Spool(tmp_path).new_take(ENROLMENT).take == 3


class StandInDisk:
    """Stands in for a disk that fills up in the middle of a frame: half of it is written, then os.pwritev fails.

    The real thing is in the tests with `small_disk`; this one says where exactly the disk ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = errno.ENOSPC) -> None:
        self.full = False
        really = os.pwritev

        def pwritev(descriptor: int, parts: list[memoryview], offset: int) -> int:
            if self.full:
                data = b"".join(parts)
                really(descriptor, [data[: len(data) // 2]], offset)
                raise OSError(error, "stand-in")
            return really(descriptor, parts, offset)

        monkeypatch.setattr(os, "pwritev", pwritev)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_frame_that_does_not_fit_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, error: int
) -> None:
    spool = Spool(tmp_path)
    path = spool.new_take(ENROLMENT).segment(0)
    file, disk = SegmentFile(path, spool), StandInDisk(monkeypatch, error)
    for i in range(before):
        file.append(b"frame %d" % i)
    whole, used = path.read_bytes() if before else None, spool.used_bytes
    disk.full = True
    with pytest.raises(OSError if error == errno.EIO else NoSpace):
        file.append(b"x" * 1000)
    assert spool.used_bytes == used
    assert (path.read_bytes() if path.exists() else None) == whole
    disk.full = False
    file.append(b"y" * 10)
    assert path.read_bytes() == (whole or b"") + b"y" * 10


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_a_disk_that_takes_a_little_at_a_time_gets_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    spool, really = Spool(tmp_path), os.pwritev

    def pwritev(descriptor: int, parts: list[memoryview], offset: int) -> int:
        return really(descriptor, [b"".join(parts)[:at_once]], offset)

    monkeypatch.setattr(os, "pwritev", pwritev)
    path = spool.new_take(ENROLMENT).segment(0)
    file = SegmentFile(path, spool)
    file.append(b"one", b"", b"seven", b"a")
    file.append(b"", b"!")
    assert path.read_bytes() == b"onesevena!"
    assert file.size == spool.used_bytes == 10


def test_a_frame_of_more_parts_than_a_system_takes_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.new_take(ENROLMENT).segment(0)
    parts = [b"%d" % n for n in range(3_000)]
    SegmentFile(path, spool).append(*parts)
    assert path.read_bytes() == b"".join(parts)


def test_an_undo_that_fails_too_is_made_good_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    path = spool.new_take(ENROLMENT).segment(0)
    file, disk = SegmentFile(path, spool), StandInDisk(monkeypatch)
    file.append(b"whole")
    disk.full = True

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "stand-in")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", failing)
        with pytest.raises(NoSpace):
            file.append(b"x" * 1000)
    assert path.stat().st_size > 5, "the undo did not fail, this test shows nothing"
    disk.full = False
    file.append(b"short")
    assert path.read_bytes() == b"wholeshort"


def test_a_really_full_disk_refuses_the_frame_and_keeps_what_was_there(small_disk: Path) -> None:
    spool = Spool(small_disk)
    path = spool.new_take(ENROLMENT).segment(0)
    file, frames = SegmentFile(path, spool), 0
    with pytest.raises(NoSpace) as caught:  # noqa: PT012 - the disk says when
        while True:
            file.append(bytes([frames]) * 300_000)
            frames += 1
    assert caught.value.code == "spool-full"
    assert frames > 5
    assert path.read_bytes() == b"".join(bytes([i]) * 300_000 for i in range(frames))
    file.finish()


def test_the_reserve_of_a_really_full_disk_holds_a_close(small_disk: Path) -> None:
    spool = Spool(small_disk)
    take = spool.new_take(ENROLMENT)
    assert spool.hold_reserve()
    with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:  # noqa: PT012
        while True:
            filler.write(bytes(4096))
    with pytest.raises(NoSpace):
        write_durably(take.close, bytes(200_000))
    assert not list(take.path.iterdir()), "a failed write left something behind"
    spool.spend_reserve()
    write_durably(take.close, bytes(200_000))
    assert take.close.stat().st_size == 200_000
    assert not spool.hold_reserve(), "there is no room for another reserve, and it must say so"
    assert not (small_disk / "spool" / "reserve").exists()


def test_a_reserve_that_a_crash_left_short_is_made_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (spool.folder / "reserve").touch()
    assert spool.hold_reserve()
    assert (spool.folder / "reserve").stat().st_blocks * 512 >= RESERVE_SIZE


def test_the_limit_holds_for_frames_and_not_for_what_is_urgent(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=1000)
    path = spool.new_take(ENROLMENT).segment(0)
    file = SegmentFile(path, spool)
    file.append(bytes(900))
    with pytest.raises(NoSpace):
        file.append(bytes(101))
    assert (path.stat().st_size, spool.free_bytes()) == (900, 100)
    file.append(bytes(101), urgent=True)
    assert (path.stat().st_size, spool.free_bytes()) == (1001, 0)


def test_what_a_removed_take_used_is_free_again_and_nothing_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=10_000)
    takes = []
    for size in (3000, 2000):
        take = spool.new_take(ENROLMENT)
        SegmentFile(take.segment(0), spool).append(bytes(size))
        write_durably(take.start, bytes(9000))
        closed(spool, take)
        takes.append(take)
    spool.remove(takes[0])
    assert spool.used_bytes == 2000 == Spool(tmp_path).used_bytes


def test_removal_keeps_the_counter_honest(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(2):
        take = spool.new_take(ENROLMENT)
        closed(spool, take)
        spool.remove(take)
    again = Spool(tmp_path)
    assert again.lost_number(ENROLMENT) is None, "a removed take would be closed again, as void"
    assert again.new_take(ENROLMENT).take == 3


@pytest.mark.parametrize("dies_at", range(1, 8))
def test_a_removal_that_is_cut_off_never_leaves_what_looks_like_an_open_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    spool = Spool(tmp_path)
    take = spool.new_take(ENROLMENT)
    for name in ("start.json", "000000.segment"):
        (take.path / name).write_bytes(b"content")
    closed(spool, take)
    steps = 0

    def dying(really: Callable[..., object]) -> Callable[..., object]:
        def step(*given: object, **more: object) -> object:
            nonlocal steps
            steps += 1
            if steps == dies_at:
                raise KeyboardInterrupt
            return really(*given, **more)

        return step

    with monkeypatch.context() as patched:
        for name in ("unlink", "rename", "rmdir"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            spool.remove(take)
    again = Spool(tmp_path)
    assert again.highest_take() == 1
    assert again.lost_number(ENROLMENT) is None
    for left in again.takes():
        assert dies_at == 1, "only a removal that has not begun may leave the take"
        again.remove(left)
    again.finish_removals()
    assert [path.name for path in again.folder.iterdir()] == []
    assert again.lost_number(ENROLMENT) is None
    assert again.last_removed_close() is not None


def test_a_full_disk_does_not_keep_a_take_from_being_removed(small_disk: Path) -> None:
    spool = Spool(small_disk)
    take = spool.new_take(ENROLMENT)
    file = SegmentFile(take.segment(0), spool)
    file.append(bytes(2_000_000))
    file.finish()
    closed(spool, take)
    with pytest.raises(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:  # noqa: PT012
        while True:
            filler.write(bytes(4096))
    spool.remove(take)
    assert spool.free_bytes() > 1_900_000
    assert Spool(small_disk).lost_number(ENROLMENT) is None


def test_the_files_are_nobody_elses(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    take = spool.new_take(ENROLMENT)
    SegmentFile(take.segment(0), spool).append(b"x")
    write_durably(take.start, b"x")
    spool.hold_reserve()
    for path in [take.path, *take.path.iterdir(), spool.folder / "reserve", tmp_path / "counter"]:
        assert path.stat().st_mode & 0o077 == 0, path.name
