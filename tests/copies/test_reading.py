"""Each file is read once; whatever wants its bytes gets all of them, in order, on however many cores."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import pytest

from evidence_store import domains
from evidence_store.copies.bag import FolderBag
from evidence_store.copies.originals import Commitments, Expected, check_originals, check_sums
from evidence_store.copies.ranges import Range, measured
from evidence_store.copies.reading import BLOCK, Counted, Reading, read_all

SIZES = {"a": 5 * BLOCK + 17, "b": 3 * BLOCK, "c": 1, "d": 0, "e": BLOCK - 1}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> FolderBag:
    folder, source = tmp_path_factory.mktemp("bag"), random.Random(1)  # noqa: S311 - bytes to be read, no secrets
    (folder / "bagit.txt").write_bytes(b"")
    for name, size in SIZES.items():
        (folder / name).write_bytes(source.randbytes(size))
    return FolderBag(folder)


def data(bag: FolderBag, name: str) -> bytes:
    with bag.open(name) as file:
        return file.read()


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("names", ["abcde", "a", "ab"])
def test_all_that_want_bytes_get_them_in_order(bag: FolderBag, workers: int, names: str) -> None:
    wanted = {name: [hashlib.sha256() for _ in range(3)] for name in names}
    told: list[int] = []
    counted = Counted(sum(SIZES[name] for name in names), lambda done, _whole: told.append(done))
    readings = [Reading(name, tuple(each.update for each in digests)) for name, digests in wanted.items()]
    assert read_all(bag, readings, counted.more, workers) == []
    for name, digests in wanted.items():
        assert {each.digest() for each in digests} == {hashlib.sha256(data(bag, name)).digest()}
    assert max(told) == sum(SIZES[name] for name in names)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_read_is_a_fault_and_not_an_end(tmp_path: Path, workers: int) -> None:
    for name in ("bagit.txt", "gone", "there"):
        (tmp_path / name).write_bytes(b"x")
    bag = FolderBag(tmp_path)
    (tmp_path / "gone").unlink()
    sums = dict.fromkeys(("gone", "there"), hashlib.sha256(b"x").hexdigest())
    faults = check_sums(bag, sums, workers=workers)
    assert [fault.split()[0] for fault in faults] == ["gone", "gone"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_stops_every_thread_at_its_next_block(bag: FolderBag, workers: int) -> None:
    seen, ran = threading.Event(), []

    def interrupted(_block: memoryview) -> None:
        seen.set()
        raise KeyboardInterrupt

    def goes_on(_block: memoryview) -> None:
        seen.wait(10)
        ran.append(1)

    with pytest.raises(KeyboardInterrupt):
        read_all(bag, [Reading("a", (interrupted,)), Reading("b", (goes_on,))], lambda _: None, workers)
    assert len(ran) <= 3
    assert threading.active_count() == 1 or not any("vidne-reading" in each.name for each in threading.enumerate())


def expected(parts: list[bytes]) -> Expected:
    made, offset = Expected("f"), 0
    for tick, part in enumerate(parts):
        salt = bytes((tick,)) * 32
        line = measured(
            part, offset=offset, tick=tick, salt=salt, milliseconds=250 * tick, utc_ns=10**18, track="t", kind="media",
            path="f",
        )  # fmt: skip
        made.add(line, domains.sha256(domains.COMMITMENT, salt, part).hex())
        offset += len(part)
    return made


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("spoilt", [None, 0, 150, 299])
def test_commitments_hold_for_blocks_of_any_size_and_name_the_tick(block: int, spoilt: int | None) -> None:
    parts = [b"", b"a" * 100, b"b", b"", b"c" * 199, b""]
    whole = bytearray(b"".join(parts))
    if spoilt is not None:
        whole[spoilt] ^= 1
    made = Commitments(expected(parts))
    for at in range(0, len(whole), block):
        made.take(memoryview(whole)[at : at + block])
    made.end()
    named = {0: "tick 1", 150: "tick 4", 299: "tick 4"}
    assert [named[spoilt] in fault for fault in made.faults] == [True] if spoilt is not None else made.faults == []


def test_bytes_that_do_not_come_are_missed() -> None:
    made = Commitments(expected([b"a" * 10, b"b" * 10]))
    made.take(memoryview(b"a" * 10 + b"b" * 9))
    made.end()
    assert len(made.faults) == 1
    assert "tick 1" in made.faults[0]


def test_a_file_with_more_than_its_ranges(tmp_path: Path) -> None:
    (tmp_path / "bagit.txt").write_bytes(b"")
    (tmp_path / "f").write_bytes(b"aax")
    faults = check_originals(FolderBag(tmp_path), [(expected([b"aa"]), hashlib.sha256(b"aax").hexdigest())])
    assert faults == ["f: 3 bytes, 2 expected"]
    (tmp_path / "f").write_bytes(b"aa")
    assert check_originals(FolderBag(tmp_path), [(expected([b"aa"]), "0" * 64)]) == [
        "f: its SHA-256 is not the one in the manifest"
    ]
    assert isinstance(expected([b"aa"]).ranges[0][0], Range)
