"""Playback from the stored bytes: exactly what was recorded, or a refusal before a byte of it is given out."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evidence_store import playback
from evidence_store.database.schema import SegmentRow
from evidence_store.errors import NotFound, Tampered
from evidence_store.sealing import check
from evidence_store.sealing import segment as segments
from evidence_store.sealing.tick import Kind, Message, open_message, place_of, seal_message
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import House, record, tick


@pytest.fixture
def take(house: House, spool: Spool, order: Order) -> TakeFolder:
    made = record(house, spool, order, ticks=32)
    house.deliver(made)
    return made


def sent(segment: int, track: int) -> bytes:
    ticks = range(segment * 8, segment * 8 + 8)
    return b"".join(m.data for t in ticks for m in tick(t).messages if m.track == track and m.kind.word == "media")


def media(house: House, take: TakeFolder, segment: int, track: int = 0) -> bytes:
    return bytes(house.store.playback.media(take.enrolment.hex(), take.take, segment, track, 0))


def object_of(house: House, take: TakeFolder, segment: int) -> Path:
    return house.vault / f"takes/{take.enrolment.hex()}/{take.take:06d}/segments/{segment:06d}"


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("order_of", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 2, 0, 3, 1, 0]])
def test_any_segment_in_any_order_is_what_was_recorded(house: House, take: TakeFolder, order_of: list[int]) -> None:
    for segment in order_of:
        for track in (0, 1):
            assert media(house, take, segment, track) == sent(segment, track)
    init = house.store.playback.init(take.enrolment.hex(), take.take, 0, 0, 0)
    assert init == b"init of the picture"
    house.store.playback.check_take(take.enrolment.hex(), take.take)


def test_one_flipped_byte_in_the_vault_gives_nothing_out(house: House, take: TakeFolder) -> None:
    path = object_of(house, take, 1)
    data = path.read_bytes()
    for at in {*range(0, len(data), len(data) // 40), *one_byte_of_each_signature(data)}:
        altered = bytearray(data)
        altered[at] ^= 0x10
        rewrite(path, bytes(altered))
        with pytest.raises(Tampered):
            media(house, take, 1)
    assert media(house, take, 0) == sent(0, 0)
    with pytest.raises(Tampered):
        house.store.playback.check_take(take.enrolment.hex(), take.take)
    rewrite(path, data)
    assert media(house, take, 1) == sent(1, 0)


def one_byte_of_each_signature(data: bytes) -> list[int]:
    _, at = segments.read_header(data)
    return [each.offset + each.size - 1 for each in segments.ticks(data, at)]


def test_a_segment_is_checked_once_for_all_its_tracks_and_forgotten_when_others_need_the_room(
    house: House, take: TakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[int] = []
    walk = check.Chain.check_segment

    def count(chain: check.Chain, data: bytes) -> tuple[segments.Header, list[segments.Tick]]:
        walked.append(chain.index + 1)
        return walk(chain, data)

    monkeypatch.setattr(check.Chain, "check_segment", count)
    for track in (0, 1, 0):
        assert media(house, take, 1, track) == sent(1, track)
    assert walked == [1]
    monkeypatch.setattr(playback, "KEPT_BYTES", 1)
    for index in (2, 3, 3, 2):
        assert media(house, take, index) == sent(index, 0)
    assert walked == [1, 2, 3, 2]


def test_other_bytes_that_open_with_the_key_are_not_what_was_signed(house: House, take: TakeFolder) -> None:
    """Whoever got hold of a segment's key, vault and database can seal other pictures, not sign their record."""
    start, keys = house.store.playback._keys_of(take.enrolment.hex(), take.take, 1)
    path = object_of(house, take, 1)
    data = bytearray(path.read_bytes())
    _, at = segments.read_header(memoryview(data))
    first = next(segments.ticks(bytes(data), at))
    entry, ciphertext = next(first.parts())
    clear = open_message(keys, place_of(start.start_hash, first.record, entry), entry, ciphertext)
    forged = seal_message(
        keys,
        place_of(start.start_hash, first.record, entry),
        Message(Kind[entry["kind"].upper()], entry["track"], entry["epoch"], clear[::-1], 1, entry["about"]),
    )
    assert len(forged.ciphertext) == len(ciphertext)
    begin = first.offset + first.size - len(first.signature) - len(first.record_bytes) - len(first.messages)
    data[begin : begin + len(ciphertext)] = forged.ciphertext
    rewrite(path, bytes(data))
    with house.store.book.database.writing() as session:
        row = session.get_one(SegmentRow, (take.enrolment.hex(), take.take, 1))
        row.sha256 = hashlib.sha256(data).digest()
    with pytest.raises(Tampered, match="altered"):
        media(house, take, 1)


def test_a_segment_put_in_anothers_place_with_the_database_made_to_agree(house: House, take: TakeFolder) -> None:
    """Whoever holds vault and database swaps two segments and their hashes: place and chain still say no."""
    first, second = object_of(house, take, 1), object_of(house, take, 2)
    one, two = first.read_bytes(), second.read_bytes()
    rewrite(first, two)
    rewrite(second, one)
    with house.store.book.database.writing() as session:
        rows = [session.get_one(SegmentRow, (take.enrolment.hex(), take.take, i)) for i in (1, 2)]
        rows[0].sha256, rows[1].sha256 = rows[1].sha256, rows[0].sha256
        rows[0].head_after, rows[1].head_after = rows[1].head_after, rows[0].head_after
    for segment in (1, 2):
        with pytest.raises(Tampered):
            media(house, take, segment)


def test_a_missing_segment_is_named_and_the_one_after_it_not_trusted(house: House, take: TakeFolder) -> None:
    with house.store.book.database.writing() as session:
        session.delete(session.get_one(SegmentRow, (take.enrolment.hex(), take.take, 1)))
    with pytest.raises(NotFound):
        media(house, take, 1)
    with pytest.raises(Tampered, match="segment 1 is missing"):
        media(house, take, 2)


def test_what_is_not_there_is_not_found(house: House, take: TakeFolder) -> None:
    for segment, track in ((99, 0), (0, 7)):
        with pytest.raises(NotFound):
            media(house, take, segment, track)
    with pytest.raises(NotFound):
        house.store.playback.media("00" * 16, 1, 0, 0, 0)


def test_many_viewers_of_more_takes_than_are_kept_open_get_what_was_recorded(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A take that is closed to make room while somebody plays it must not look tampered with."""
    monkeypatch.setattr(playback, "OPEN_TAKES", 1)
    takes = [record(house, spool, order, ticks=16) for _ in range(3)]
    for each in takes:
        house.deliver(each)
    ready = threading.Barrier(6)

    def view(at: int) -> None:
        ready.wait()
        for i in range(12):
            assert media(house, takes[(at + i) % 3], i % 2) == sent(i % 2, 0)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(view, range(6)))


def test_a_take_that_is_put_away_leaves_no_secret_behind(
    house: House, take: TakeFolder, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "OPEN_TAKES", 1)
    other = record(house, spool, order, ticks=8)
    house.deliver(other)
    media(house, take, 0)
    (opened,) = house.store.playback._open.values()
    assert bytes(opened.secret) != bytes(32)
    media(house, other, 0)
    assert bytes(opened.secret) == bytes(32)
    assert opened.ratchet is not None
    assert bytes(opened.ratchet._secret) == bytes(32)
