"""A recorder is stolen: its disk, or the running machine with its memory (attacks 16 and 17, acceptance 7)."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store.errors import CiphertextInvalid, VidneError
from evidence_store.sealing import check
from evidence_store.sealing.keys import PrivateKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.segment import Tick
from evidence_store.sealing.tick import open_message, place_of
from recorder.sealer import TICKS_A_SEGMENT, Sealer
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import House, begin, crash, record, tick

ROOT = Path(__file__).parents[2]


@dataclass
class Secrets:
    """Everything that opens or could continue a take, by name: what must not be found."""

    named: dict[str, bytes]

    @classmethod
    def of(cls, house: House, order: Order, take: TakeFolder, segments: int) -> Secrets:
        start = started(house, take)
        info = take_wrap_info(start.enrolment, start.take, start.interview)
        secret = house.private_key(order).unwrap(start.wrap, info)
        named = {"R0": secret, "seed": house.private_key(order).seed}
        ratchet = Ratchet(start.start_hash, bytearray(secret))
        for i in range(segments):
            keys = ratchet.next_segment()
            named |= {
                f"K{i}": bytes(keys.encryption),
                f"Z{i}": bytes(keys.salting),
                f"R{i + 1}": bytes(ratchet._secret),
            }
        return cls(named)

    def found_in(self, data: bytes) -> set[str]:
        """Raw, in hexadecimal, or in base64 at any of its three alignments."""
        found, lower = set(), data.lower()
        for name, secret in self.named.items():
            spelt = [base64.b64encode(bytes(shift) + secret)[4 if shift else 0 : -4] for shift in range(3)]
            spelt += [each.replace(b"+", b"-").replace(b"/", b"_") for each in spelt]
            if secret in data or secret[::-1] in data or secret.hex().encode() in lower:
                found.add(name)
            if any(each in data for each in spelt):
                found.add(name)
        return found


def started(house: House, take: TakeFolder) -> check.Start:
    return check.check_start(take.start.read_bytes(), house.store.authority.root)


def scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes(32, "big")


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def segment_ticks(house: House, take: TakeFolder) -> list[list[Tick]]:
    chain = check.Chain(started(house, take))
    return [chain.check_segment(path.read_bytes())[1] for path in take.segments()]


def opens(keys: SegmentKeys, start_hash: bytes, ticks: list[Tick]) -> bool:
    entry, ciphertext = next(ticks[0].parts())
    try:
        open_message(keys, place_of(start_hash, ticks[0].record, entry), entry, ciphertext)
    except CiphertextInvalid:
        return False
    return True


def finished(house: House, spool: Spool, order: Order) -> tuple[TakeFolder, ec.EllipticCurvePrivateKey]:
    """A take of three segments, closed; and the take key that it was closed with."""
    sealer = begin(house, spool, order)
    for t in range(2 * TICKS_A_SEGMENT + 2):
        sealer.write(tick(t, size=60))
    key = sealer._take_key
    assert key is not None
    sealer.close(tick(2 * TICKS_A_SEGMENT + 2, size=60))
    spool.remember_recording(order.encode())
    return sealer.folder, key


def test_no_key_of_a_finished_take_is_in_the_room_nodes_folder(house: House, spool: Spool, order: Order) -> None:
    take, take_key = finished(house, spool, order)
    secrets = Secrets.of(house, order, take, 3)
    secrets.named["take key"] = scalar(take_key)
    searched = 0
    for path, data in everything(house.room):
        assert secrets.found_in(data) == set(), path.name
        searched += len(data)
    assert searched > 50_000, "the search saw too little to mean anything"


@pytest.mark.parametrize("spelt", [bytes, lambda s: s.hex().upper().encode(), lambda s: base64.b64encode(b"xy" + s)])
def test_the_search_finds_a_key_that_is_there(house: House, spool: Spool, order: Order, spelt: object) -> None:
    take, _ = finished(house, spool, order)
    secrets = Secrets.of(house, order, take, 3)
    for name, secret in secrets.named.items():
        assert secrets.found_in(b"before" + spelt(secret) + b"after!") == {name}  # type: ignore[operator]


def candidates(folder: Path) -> Iterator[bytes]:
    """Every 32 bytes in a row of every file but the ciphertexts, and of everything in them that decodes as text."""
    for path, data in everything(folder):
        if path.suffix == ".segment":
            continue
        joined = data.replace(b"\\n", b"").replace(b"\n", b"")
        texts = [base64.b64decode(each[: len(each) & ~3]) for each in re.findall(rb"[A-Za-z0-9+/]{44,}", joined)]
        texts += [bytes.fromhex(each.decode()) for each in re.findall(rb"(?:[0-9a-f]{2}){32,}", data)]
        for text in (data, *texts):
            for at in range(len(text) - 31):
                yield text[at : at + 32]


def try_everything(house: House, take: TakeFolder) -> bool:
    """Uses each candidate as R0, and as the first segment's own key."""
    start, ticks = started(house, take), segment_ticks(house, take)[0]
    entry, ciphertext = min(ticks[0].parts(), key=lambda part: part[0]["length"])
    place, small = place_of(start.start_hash, ticks[0].record, entry), bytes(ciphertext)
    for candidate in candidates(house.room):
        for keys in (Ratchet(start.start_hash, bytearray(candidate)).next_segment(), raw(candidate)):
            try:
                open_message(keys, place, entry, small)
            except CiphertextInvalid:
                continue
            return True
    return False


def raw(candidate: bytes) -> SegmentKeys:
    return SegmentKeys(0, bytearray(candidate + candidate))


def test_nothing_in_the_room_nodes_folder_opens_a_finished_take(house: House, spool: Spool, order: Order) -> None:
    take, _ = finished(house, spool, order)
    tried = len({*candidates(house.room)})
    assert tried > 20_000
    assert not try_everything(house, take)
    start = started(house, take)
    secret = house.private_key(order).unwrap(start.wrap, take_wrap_info(start.enrolment, start.take, start.interview))
    (house.room / "spool" / "forgotten").write_bytes(b"left behind: " + secret)
    assert try_everything(house, take), "the attempt would not even notice R0 lying there"


def test_the_devices_own_keys_unwrap_nothing(house: House, spool: Spool, order: Order) -> None:
    take, _ = finished(house, spool, order)
    device, start = house.device(), started(house, take)
    for seed in (scalar(device.key), device.ml_dsa_key.private_bytes_raw()):
        with pytest.raises(VidneError):
            PrivateKey(seed).unwrap(start.wrap, take_wrap_info(start.enrolment, start.take, start.interview))


@pytest.mark.parametrize("ticks", [2 * TICKS_A_SEGMENT + 3, 2 * TICKS_A_SEGMENT + 1, 3 * TICKS_A_SEGMENT - 1])
def test_the_running_process_opens_its_current_segment_and_none_before(
    house: House, spool: Spool, order: Order, ticks: int
) -> None:
    """With everything that the live sealer holds: its ratchet, its segment's keys, its take key."""
    sealer = begin(house, spool, order)
    for t in range(ticks):
        sealer.write(tick(t))
    before, start = segment_ticks(house, sealer.folder), sealer.start_hash
    assert len(before) == 3
    (keys,) = sealer._keys.values()
    held = [bytes(keys._buffer[at : at + 32]) for at in (0, 32)] + [bytes(sealer._ratchet._secret)]
    assert opens(keys, start, before[2]), "the current segment is in its hands, by design"
    for secret in held:
        for i in range(3):
            ratchet = Ratchet(start, bytearray(secret), i)
            for guess in (ratchet.next_segment(), raw(secret), SegmentKeys(i, bytearray(secret + held[1]))):
                assert not any(opens(guess, start, each) for each in before[:2])


def test_between_two_segments_nothing_recorded_can_be_opened(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    for t in range(2 * TICKS_A_SEGMENT):
        sealer.write(tick(t))
    assert sealer.segment_ended()
    before, start, secret = segment_ticks(house, sealer.folder), sealer.start_hash, bytes(sealer._ratchet._secret)
    for i in range(3):
        assert not any(opens(Ratchet(start, bytearray(secret), i).next_segment(), start, each) for each in before)


def test_a_closed_or_dropped_sealer_holds_nothing(house: House, spool: Spool, order: Order) -> None:
    def emptied(sealer: Sealer) -> bool:
        open_keys = b"".join(bytes(keys._buffer) for keys in sealer._keys.values())
        return sealer._take_key is None and not any(sealer._ratchet._secret) and not any(open_keys)

    closed = begin(house, spool, order)
    closed.write(tick(0))
    assert not emptied(closed)
    closed.close(tick(1))
    dropped = begin(house, spool, order)
    dropped.write(tick(0))
    dropped.forget()
    assert emptied(closed)
    assert emptied(dropped)


CHILD = """
import sys, time
from pathlib import Path
from recorder.device import load_or_enrol
from recorder.recovery import previous_take
from recorder.sealer import Sealer
from recorder.spool import Spool
from recorder.take import Order
from tests.house import TRACKS, tick

room = Path(sys.argv[1])
device = load_or_enrol(room / "device", "demo", None)
order = Order.decode((room / "order").read_bytes())
sealer = Sealer.begin(device, Spool(room), order, TRACKS, None, monotonic_ns=0, utc_ns=1795000000000000000, boot="b")
for t in range(int(sys.argv[2])):
    sealer.write(tick(t))
print("sealed", flush=True)
time.sleep(60)
"""


def memory_of(pid: int) -> Iterator[bytes]:
    """Every writable region of a process, as whoever steals the running machine reads it."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, mode, *_ = line.split()
            if mode.startswith("rw") and "[v" not in line:
                start, end = (int(each, 16) for each in where.split("-"))
                memory.seek(start)
                try:
                    yield memory.read(end - start)
                except OSError:
                    continue


def test_the_memory_of_a_running_recorder_holds_no_key_of_what_is_past(
    house: House, spool: Spool, order: Order
) -> None:
    """Not only what the sealer's objects hold: every byte of the process, freed memory included."""
    house.device()
    (house.room / "order").write_bytes(order.encode())
    ticks = 2 * TICKS_A_SEGMENT + 3
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(house.room), str(ticks)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "sealed\n"
        time.sleep(0.1)
        (take,) = spool.takes()
        secrets = Secrets.of(house, order, take, 3)
        try:
            regions = list(memory_of(child.pid))
        except PermissionError:
            pytest.skip("this kernel lets nobody read another process's memory")
        held = {name for name, secret in secrets.named.items() if any(secret in region for region in regions)}
    finally:
        child.kill()
        child.communicate(timeout=10)
    assert {"K2", "Z2", "R3"} <= held, "the search does not see what must be there"
    assert held == {"K2", "Z2", "R3"}


def test_the_other_takes_of_the_device_help_nobody(house: House, spool: Spool, order: Order) -> None:
    first, second = record(house, spool, order), crash(house, spool, order)
    secrets = Secrets.of(house, order, first, 3)
    start, ticks = started(house, second), segment_ticks(house, second)
    for secret in secrets.named.values():
        assert not opens(Ratchet(start.start_hash, bytearray(secret)).next_segment(), start.start_hash, ticks[0])
