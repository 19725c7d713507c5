"""A copy is checked on a machine that has Debian's own openssl, age, sha256sum and ffprobe, and nothing of ours; also
when the time stamp authority's certificate has run out, and decades later."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from recorder.sealer import Tick
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.copies.clean_root import CleanRoot, make, strangers
from tests.copies.conftest import Script, ticks_of
from tests.copies.films import audio, video
from tests.house import TICK_NS, TRACKS, House, begin
from tests.stamping import ask, quiet, stamped_house
from tests.store.test_stamped_copies import sealed_copy
from tests.time_authority import DAY, Leaf, TimeAuthority

(FAKETIME,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
FILM = "data/original/take-001-wide-video-0.mp4"


@dataclass
class Received:
    """What a receiver has: a machine, an age file with its key, and two fingerprints known from elsewhere."""

    root: CleanRoot
    bag: str
    house: str
    authority: str

    def check(self, later: str | None = None) -> tuple[int, str]:
        """verify.sh, `later` (such as `+2d`) than it is."""
        done = self.root.run(
            "sh", f"{self.bag}/verify.sh", self.house, AUTHORITIES=self.authority, **_moved(later)
        )  # fmt: skip
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    def flip(self, name: str) -> None:
        """One bit of the file's middle, and back again when it is done twice."""
        path = self.root.folder / self.bag.lstrip("/") / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def _moved(later: str | None) -> dict[str, str]:
    return {} if later is None else {"LD_PRELOAD": str(FAKETIME), "FAKETIME": later}


def filmed(house: House, order: Order) -> TakeFolder:
    """A take of real sound and picture, recorded now, delivered and sealed."""
    script = Script(1, {0: video("testsrc", 3), 1: audio(3)}, TRACKS, begins=quiet(time.time_ns()))
    sealer = begin(house, house.spool(), order, began=script.begins)
    ticks = ticks_of(script)
    for t, (messages, events) in enumerate(ticks):
        sealer.write(Tick(messages, events, t * TICK_NS, script.begins + (t + 1) * TICK_NS))
    sealer.close(Tick([], [], len(ticks) * TICK_NS, script.begins + (len(ticks) + 1) * TICK_NS))
    house.deliver(sealer.folder)
    assert house.store.sealing.seal(order.interview.hex())
    return sealer.folder


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Received]:
    folder = tmp_path_factory.mktemp("clean")
    key = pyrage.x25519.Identity.generate()
    with TimeAuthority(folder / "authority", leaf=Leaf(ends=DAY)) as authority:
        house = stamped_house(folder / "house", authority)
        order = house.interview()
        filmed(house, order)

        async def copied() -> Path:
            assert await ask(house, authority) == 5
            return await sealed_copy(house, order, folder, str(key.to_public()))

        age_file = asyncio.run(copied())
        (clock,) = house.store.stamps.authorities
        root = make(folder / "root", FAKETIME)
        house.close()
    shutil.move(age_file, root.home / "copy.tar.age")
    (root.home / "key.txt").write_text(f"{key}\n")
    (root.home / "authority.pem").write_bytes(authority.pem.read_bytes())
    for command in (["age", "-d", "-i", "key.txt", "-o", "copy.tar", "copy.tar.age"], ["tar", "-xf", "copy.tar"]):
        done = root.run("env", "-C", "/home", *command)
        assert (done.returncode, done.stderr) == (0, "")
    (bag,) = root.home.glob("vidne-kopi-*")
    yield Received(root, f"/home/{bag.name}", house.store.authority.fingerprint, clock)
    shutil.rmtree(root.folder)


def test_nothing_of_ours_is_in_there(received: Received) -> None:
    """Every file is a Debian package's, and none is an interpreter of anything but shell and awk."""
    outside = {"home", "dev", "tmp"}
    root = received.root.folder
    held = {
        Path("/") / path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in outside and not path.is_symlink()
    }
    there = {Path("/") / (root / name).resolve().relative_to(root) for name in ("lib", "bin")}
    assert there == {Path("/usr/lib"), Path("/usr/bin")}
    assert held == set(received.root.taken)
    assert strangers(received.root.taken) == []
    assert not [path for path in held if "python" in path.name or "vidne" in str(path)]
    assert received.root.run("python3", "-c", "1").returncode == 127


def test_a_copy_made_today_holds(received: Received) -> None:
    code, said = received.check()
    assert code == 0, said
    assert f"OK    {FILM} læses til ende" in said
    assert "OK    tidsstemplingstjenesten er den opgivne" in said
    assert said.count(".json fandtes 20") == 3
    assert "IKKE" not in said
    assert "FEJL" not in said


def expired(received: Received, later: str) -> bool:
    """Whether a stamp of the copy does not hold by the clock that is set forward: that clock is really believed."""
    stamps = f"{received.bag}/evidence/stamps"
    listed = (received.root.folder / stamps.lstrip("/") / "stamps.txt").read_text().splitlines()
    stamp, about = next(line.split()[:2] for line in listed if line.startswith("evidence/"))
    done = received.root.run(
        "env", "-C", received.bag, "openssl", "ts", "-verify", "-data", about, "-in", stamp,
        "-CAfile", "/home/authority.pem", **_moved(later),
    )  # fmt: skip
    assert done.returncode == 0 or "certificate has expired" in done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("later", ["+2d", "+30y"])
def test_it_holds_when_the_authoritys_certificate_has_run_out(received: Received, later: str) -> None:
    assert not expired(received, "+1m")
    assert expired(received, later)
    now = received.check()
    code, said = received.check(later)
    assert code == 0, said
    assert (code, said) == now, "the same words, whenever it is asked"


@pytest.mark.parametrize("later", [None, "+30y"])
def test_one_flipped_bit_is_refused_then_too(received: Received, later: str | None) -> None:
    (stamp,) = (received.root.folder / received.bag.lstrip("/")).glob("evidence/stamps/*close*.tsr")
    for name, words in (
        (FILM, "spor wide-video, sekund"),
        ("evidence/manifest.json", "underskriften på evidence/manifest.json holder ikke"),
        (f"evidence/stamps/{stamp.name}", f"tidsstemplet evidence/stamps/{stamp.name} holder ikke"),
    ):
        received.flip(name)
        code, said = received.check(later)
        received.flip(name)
        assert code == 1
        assert words in said
        assert "FEJL  kopien holder ikke" in said
    assert received.check(later)[0] == 0
