"""The recovery drill (acceptance 8): the lines of docs/operations.md, on a machine that has nothing else."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from evidence_store.recovery import paper, sheet
from evidence_store.sealing.keys import PrivateKey
from evidence_store.sealing.tick import Kind, Message
from recorder.sealer import Tick
from recorder.spool import Spool
from tests.copies.films import Film, audio, video
from tests.house import BEGAN, TICK_NS, House, begin, crash, record

ROOT = Path(__file__).parents[2]
SECONDS = 3


def film_ticks(films: dict[int, Film], scales: dict[int, int]) -> list[Tick]:
    """Real media as a recorder cuts it."""
    ticks: list[list[Message]] = [[] for _ in range(SECONDS * 4 + 1)]
    for track, film in films.items():
        ticks[0].append(Message(Kind.INIT, track, 0, film.init, 512, {"codec": film.codec}))
        for each in film.fragments:
            about = {"from": each.begin, "keys": [], "samples": 8, "to": each.end}
            ticks[each.begin * 4 // scales[track]].append(Message(Kind.MEDIA, track, 0, each.data, 512, about))
    origin = [{"monotonic": "0", "type": "origin", "utc": str(BEGAN)}]
    return [
        Tick(messages, origin if t == 0 else [], t * TICK_NS, BEGAN + (t + 1) * TICK_NS)
        for t, messages in enumerate(ticks)
    ]


@dataclass
class Left:
    """What is left of a house: copies on other media, and what is on paper."""

    folder: Path
    interview: str
    fingerprint: str
    media: dict[str, bytes]

    def words(self, line: str) -> list[str]:
        named = {
            "ESCROW": self.folder / "escrow", "VAULT": self.folder / "vault", "ID": self.interview,
            "FINGERPRINT": self.fingerprint, "CHECKPOINT": self.folder / "checkpoint", "OUT": self.folder / "out",
            **{f"SHARE{number}": self.folder / f"andel-{number}.txt" for number in (1, 2, 3)},
        }  # fmt: skip
        pattern = re.compile("|".join(rf"\b{name}\b" for name in named))
        return [pattern.sub(lambda found: str(named[found[0]]), word) for word in line.split()]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line as it stands in the document, in a process of its own that knows of no data folder."""
        command = self.words(line)
        if command[0] == "vidne":
            command = [sys.executable, "-m", "api.cli", *command[1:]]
        home = self.folder / "machine"
        home.mkdir(exist_ok=True)
        ran = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=100, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert "Traceback" not in ran.stderr, ran.stderr
        assert list(home.iterdir()) == [], "a recovery leaves nothing but what was asked for"
        return ran


def lines() -> list[str]:
    part = (ROOT / "docs" / "operations.md").read_text().split("\n## Recovery from paper\n", 1)[1]
    found = re.search(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    assert found
    return found[1].splitlines()


RECOVER = next(line for line in lines() if line.startswith("vidne recover "))


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """A house that recorded an interview in two takes, sealed it, and burnt down."""
    house = House(tmp_path / "house")
    spool, order = house.spool(), house.interview()
    films = {0: video("testsrc", SECONDS), 1: audio(SECONDS)}
    sealer = begin(house, spool, order)
    for each in film_ticks(films, {0: 90_000, 1: 48_000}):
        sealer.write(each)
    sealer.close(Tick([], [], (SECONDS * 4 + 1) * TICK_NS, BEGAN + (SECONDS * 4 + 2) * TICK_NS))
    house.deliver(sealer.folder)
    house.deliver(record(house, spool, order, ticks=20, began=BEGAN + 60 * 10**9))
    another = house.interview()
    house.deliver(record(house, spool, another, ticks=9, began=BEGAN + 120 * 10**9))
    assert house.store.sealing.seal(order.interview.hex())
    assert house.findings() == {}
    house.close()
    escrow = house.folder / "escrow"
    lists = paper.split(PrivateKey((escrow / "recovery.key").read_bytes()), 5, 3)
    heading = sheet.Heading("Børnehus", house.store.authority.fingerprint, 5, 3, "2026-11-22")
    for share in lists[1:4]:
        (tmp_path / f"andel-{share.number - 1}.txt").write_text(sheet.as_text(share, heading))
    (escrow / "recovery.key").unlink()
    escrow.rename(tmp_path / "escrow")
    (house.folder / "store" / "vault" / "objects").rename(tmp_path / "vault")
    checkpoints = sorted((tmp_path / "vault" / "ledger" / "checkpoints").iterdir())
    shutil.copy(checkpoints[-1], tmp_path / "checkpoint")
    shutil.rmtree(house.folder)
    clear = {
        f"take-001-{name}-0.mp4": films[track].init + b"".join(each.data for each in films[track].fragments)
        for track, name in ((0, "wide-video"), (1, "wide-audio"))
    }
    return Left(tmp_path, order.interview.hex(), house.store.authority.fingerprint, clear)


def test_an_interview_plays_and_verifies_from_paper_and_copies_alone(left: Left) -> None:
    """On a machine with an empty home and no data folder, line by line as the page says."""
    said = []
    for line in lines():
        ran = left.run(line)
        assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
        said.append(ran.stdout)
    assert said.pop(0).count(f"{left.interview}  20") == 2, "its two takes are found without any key"
    out = left.folder / "out"
    for name, clear in left.media.items():
        assert (out / name).read_bytes() == clear
        assert (out / name).stat().st_mode & 0o077 == 0
        assert hashlib.sha256(clear).hexdigest() in said[1]
    assert hashlib.sha256(left.media["take-001-wide-video-0.mp4"]).hexdigest() in said[2]
    with av.open(str(out / "take-001-wide-video-0.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == SECONDS * 30
    with av.open(str(out / "take-001-wide-audio-0.mp4")) as film:
        assert sum(frame.samples for frame in film.decode(audio=0)) >= SECONDS * 48_000
    assert b"picture 19 " in (out / "take-002-wide-video-0.mp4").read_bytes()
    assert {path.name.split("-")[0] for path in out.iterdir()} == {"take", "report.txt"}
    assert not any(name.startswith("take-003") for name in os.listdir(out)), "another interview's take"
    for words in ("OK   checkpoint", "the copy has the remembered head", "OK   manifest", "2 takes", "Not proven:"):
        assert words in said[1]
    assert (out / "report.txt").read_text() in said[1]


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def take(left: Left, name: str) -> Path:
    (found,) = (left.folder / "vault" / "takes").glob(f"*/000001/{name}")
    return found


SPOILT: dict[str, tuple[Callable[[Left], object], str]] = {
    "segment_altered": (lambda left: flip(take(left, "segments/000001")), "take-001"),
    "segment_gone": (lambda left: take(left, "segments/000000").unlink(), "segment 0 is not in this copy"),
    "last_segment_gone": (lambda left: take(left, "segments/000001").unlink(), "disagree"),
    "close_gone": (lambda left: take(left, "close.json").unlink(), "never closed"),
    "start_gone": (lambda left: take(left, "start.json").unlink(), "FAIL manifest"),
    "start_altered": (lambda left: flip(take(left, "start.json")), "FAIL start"),
    "manifest_altered": (
        lambda left: flip(left.folder / f"vault/interviews/{left.interview}/manifest-001.json"), "FAIL manifest",
    ),
    "manifest_gone": (
        lambda left: (left.folder / f"vault/interviews/{left.interview}/manifest-001.json").unlink(), "not sealed",
    ),
    "copy_is_old": (
        lambda left: max((left.folder / "vault/ledger/checkpoints").iterdir()).unlink(), "look for a later copy",
    ),
    "escrow_of_another_interview": (
        lambda left: [
            shutil.copy(each, left.folder / "escrow" / f"{left.interview}.seed")
            for each in (left.folder / "escrow").glob("*.seed")
            if each.stem != left.interview
        ],
        "FAIL stopped",
    ),
    "erased": (lambda left: (left.folder / "escrow" / f"{left.interview}.seed").unlink(), "FAIL stopped"),
}  # fmt: skip


@pytest.mark.parametrize("defect", SPOILT)
def test_what_is_wrong_with_a_copy_is_named(left: Left, defect: str) -> None:
    spoil, expected = SPOILT[defect]
    spoil(left)
    ran = left.run(RECOVER)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "FAIL" in ran.stdout
    assert expected in ran.stdout


def test_what_was_checked_before_the_damage_is_written(left: Left) -> None:
    flip(take(left, "segments/000001"))
    left.run(RECOVER)
    got = (left.folder / "out" / "take-001-wide-video-0.mp4").read_bytes()
    whole = left.media["take-001-wide-video-0.mp4"]
    assert len(got) > 1000
    assert got == whole[: len(got)] != whole


def test_another_fingerprint_is_another_house(left: Left) -> None:
    other = Left(left.folder, left.interview, "0" * 64, {})
    ran = other.run(RECOVER)
    assert ran.returncode == 1
    assert "FAIL stopped: no certificate in this copy has that fingerprint" in ran.stdout
    assert [path.name for path in (left.folder / "out").iterdir()] == ["report.txt"]


def test_a_vault_without_certificates_of_its_own_gives_its_media(left: Left) -> None:
    """The manifest's signature brings root and store along. What the others would show is missing, and said so."""
    shutil.rmtree(left.folder / "vault" / "certificates")
    ran = left.run(RECOVER)
    assert ran.returncode == 1
    assert "OK   take-001" in ran.stdout
    assert "FAIL checkpoint: the copy holds no certificate of Vidne ledger" in ran.stdout
    for name, clear in left.media.items():
        assert (left.folder / "out" / name).read_bytes() == clear


def test_a_folder_that_holds_something_is_left_alone(left: Left) -> None:
    out = left.folder / "out"
    out.mkdir()
    (out / "mine").touch()
    ran = left.run(RECOVER)
    assert (ran.returncode, "not empty" in ran.stderr) == (2, True)
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_a_take_that_a_crash_ended_comes_back_too(tmp_path: Path) -> None:
    """What no manifest names yet, and nobody closed: what is there opens, and what is missing is said."""
    house = House(tmp_path / "house")
    spool: Spool = house.spool()
    order = house.interview()
    folder = crash(house, spool, order, ticks=11)
    house.deliver_one(folder, "start", folder.start.read_bytes())
    house.deliver_one(folder, "segments/0", folder.segment(0).read_bytes())
    house.close()
    lists = paper.split(PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes()), 3, 3)
    for share in lists:
        (tmp_path / f"andel-{share.number}.txt").write_text(share.mnemonic)
    shutil.copytree(house.folder / "escrow", tmp_path / "escrow")
    shutil.copytree(house.folder / "store" / "vault", tmp_path / "vault")
    left = Left(tmp_path, order.interview.hex(), house.store.authority.fingerprint, {})
    ran = left.run(RECOVER.replace(" --checkpoint CHECKPOINT", ""))
    assert ran.returncode == 1
    assert "opens up to tick 7, and was never closed" in ran.stdout
    assert b"picture 7 " in (tmp_path / "out" / "take-001-wide-video-0.mp4").read_bytes()
