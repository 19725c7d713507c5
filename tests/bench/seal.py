"""Sealing on one core against the tools that do the same by hand: hash, encrypt, hash, durable. Beside it, how near it
comes to its own limit: the same bytes through one cipher and twice through SHA-256, in memory, and nothing else.

Ours is the recording way itself, from messages to a durable spool: commitment, Cobblestone-256, hash, record, chain,
P-256 signature, a new key each eight ticks; all ticks wait, as in a recorder whose disk stalled: up to eight go into
one commit, and while the disk takes them the next are encrypted. The peer is `openssl dgst -sha256` of
the clear bytes, `age -r` and `openssl dgst -sha256` of what came out, with one fsync at the end: it neither signs nor
survives a cut in the middle. Both are held to the same core, children included, and write to the same disk.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor

from evidence_store.authority import create, load
from evidence_store.sealing.certificates import to_der
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.keys import PrivateKey
from evidence_store.sealing.tick import Kind, Message
from recorder.device import load_or_enrol
from recorder.sealer import Sealer, Tick
from recorder.spool import Spool
from recorder.take import Order
from tests.bench.figures import Figure, one_core, take_turns
from tests.bench.moments import BORN, NOW_NS

WHAT = "sealing on one core, against openssl dgst + age -r + openssl dgst"
RUNS, SECONDS = 7, 0.0

MEBIBYTE = 1 << 20
TOTAL = 64 * MEBIBYTE
OF_LIMIT = 0.8
TRACKS = [TrackEntry(0, "wide-video", "wide", "video", 90_000), TrackEntry(1, "close-video", "close", "video", 90_000)]
MESSAGE = MEBIBYTE // 2
"""A quarter of a second of a camera at 16 Mbit/s: two such cameras make a tick of 1 MiB."""


class Room:
    """A recorder's disk with a device on it, and an order to record."""

    def __init__(self, folder: Path) -> None:
        create(folder / "keys", BORN)
        authority = load(folder / "keys")
        self.device = load_or_enrol(
            folder / "device",
            "bench",
            lambda enrolment, _room, key, ml_dsa: authority.enrol(enrolment, key, ml_dsa, BORN),
        )
        self.spool = Spool(folder / "room")
        interview, public = secrets.token_bytes(16), PrivateKey.generate().public_key().encoded
        signature = authority.sign_interview_key(interview, public)
        self.order = Order(interview, public, signature, to_der(authority.store), None)

    def record(self, messages: list[bytes]) -> None:
        """One take of these messages, two a tick; durable and closed when it returns."""
        clock = {"monotonic_ns": 0, "utc_ns": NOW_NS}
        sealer = Sealer.begin(self.device, self.spool, self.order, TRACKS, None, **clock, boot="bench")
        ticks = [
            Tick(
                [Message(Kind.MEDIA, track, 0, messages[index + track], 1, {"samples": 8}) for track in (0, 1)],
                [], index, NOW_NS + index,
            )
            for index in range(0, len(messages), 2)
        ]  # fmt: skip
        for _ in sealer.catch_up(ticks):
            pass
        sealer.close(Tick([], [], len(messages), NOW_NS + len(messages)))


class ByHand:
    """The same with openssl and age, from a file in memory to a file beside the spool."""

    def __init__(self, memory: Path, disk: Path, data: bytes) -> None:
        self._clear, self._disk, self._made = memory / "clear", disk, 0
        self._clear.write_bytes(data)
        made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
        self._recipient = made.stderr.strip().rpartition(" ")[2]

    def seal(self) -> None:
        self._made += 1
        sealed = self._disk / f"{self._made}.age"
        subprocess.run(["openssl", "dgst", "-sha256", self._clear], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["age", "-r", self._recipient, "-o", sealed, self._clear], check=True)
        with sealed.open("rb") as file:
            os.fsync(file.fileno())
        subprocess.run(["openssl", "dgst", "-sha256", sealed], stdout=subprocess.DEVNULL, check=True)


def pass_through(messages: list[bytes]) -> None:
    """What no way of sealing can do without: each message hashed, encrypted, and hashed again."""
    key, room = secrets.token_bytes(32), memoryview(bytearray(2 * MESSAGE))
    for message in messages:
        hashlib.sha256(message).digest()
        size = Cobblestone256Encryptor(key, b"").update_into(message, room)
        hashlib.sha256(room[:size]).digest()


def measure(runs: int, seconds: float) -> Figure:
    """MiB/s. Raises FileNotFoundError where age or openssl is missing."""
    with (
        one_core(),
        tempfile.TemporaryDirectory(prefix="vidne-bench-", dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory(prefix="vidne-bench-") as disk,
    ):
        data = secrets.token_bytes(TOTAL)
        messages = [data[at : at + MESSAGE] for at in range(0, TOTAL, MESSAGE)]
        room, by_hand = Room(Path(disk)), ByHand(Path(memory), Path(disk), data)

        def tidy() -> None:
            """What is removed gives its pages to what is written next: a recorder's disk cache is warm too."""
            for take in room.spool.takes():
                shutil.rmtree(take.path)
            for file in Path(disk).glob("*.age"):
                file.unlink()

        ours, peer = take_turns(lambda: room.record(messages), by_hand.seal, runs, tidy)
        again, limit = take_turns(lambda: room.record(messages), lambda: pass_through(messages), runs, tidy)
    mebibytes = TOTAL / MEBIBYTE
    notes = (
        f"`seal`: {limit / again:.2f} of its own limit (goal {OF_LIMIT}), which is {mebibytes / limit:.0f} MiB/s: one "
        "cipher and two SHA-256 passes over the same bytes in memory, in the same run.",
    )
    return Figure(
        "seal", "MiB/s", mebibytes / ours, mebibytes / peer, "higher", 1.5, runs,
        held=limit / again >= OF_LIMIT, notes=notes,
    )  # fmt: skip
