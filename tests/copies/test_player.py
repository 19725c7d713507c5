"""The player's part of both checks: the file is read to its end, whatever packets its pictures lost on the way."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from evidence_store.copies.bag import open_bag
from evidence_store.copies.layout import VIEWING
from evidence_store.copies.package import prepare
from evidence_store.copies.player import check_player
from evidence_store.copies.verify import Anchors, verify
from evidence_store.errors import ChainBroken
from tests.recorder_media.streams import make_stream, sent_in_small_packets

from .conftest import WIDE, Script, Store, source_of
from .films import Film, recorded

FILM = "data/original/take-001-wide-video-0.mp4"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FFPROBE = shutil.which("ffprobe")
_FU_A, _BEGINS, _SLICE = 28, 0x80, 1


def wounded(folder: Path) -> Film:
    """As a recorder has it whose link lost the beginning of every third picture that is no key frame."""
    stream = make_stream("h264_high", folder)
    sent = sent_in_small_packets(stream)
    heads = [
        packet.sequence
        for packet in sent
        if packet.payload[0] & 0x1F == _FU_A and packet.payload[1] & 0x9F == _BEGINS | _SLICE
    ]
    lost = set(heads[::3])
    assert len(lost) > 5
    return recorded(dataclasses.replace(stream, sent=[packet for packet in sent if packet.sequence not in lost]))


def script(folder: Path, player: str) -> list[str]:
    """What verify.sh says of films when this player reads them."""
    done = subprocess.run(
        ["sh", folder / "verify.sh"], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "FFPROBE": player},
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if "til ende" in line]


def players() -> list[str]:
    assert FFPROBE is not None, "scripts/setup --for test installs Debian's ffmpeg"
    return [FFMPEG, FFPROBE]


def test_pictures_that_lost_packets_are_no_defect(store: Store, recipient: tuple[str, Path], tmp_path: Path) -> None:
    take = Script(1, {0: wounded(tmp_path)}, [WIDE])
    with prepare(source_of(store, [take], recipient[0]), scratch=tmp_path) as prepared:
        with (tmp_path / "copy.tar.age").open("wb") as out:
            prepared.write(out)
        bag = tmp_path / prepared.folder
    tar = tmp_path / "copy.tar"
    subprocess.run(["age", "-d", "-i", recipient[1], "-o", tar, tmp_path / "copy.tar.age"], check=True, timeout=30)
    subprocess.run(["tar", "xf", tar], cwd=tmp_path, check=True, timeout=30)
    parsed = subprocess.run(
        [FFMPEG, "-nostdin", "-v", "error", "-i", bag / FILM, "-c", "copy", "-f", "null", "-"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "h264" in parsed.stderr, "a decoder finds fault with them"

    report = verify(bag, Anchors(store.fingerprint), player=FFMPEG)
    assert report.ok, [check.detail for check in report.failures]
    for player in players():
        said = script(bag, player)
        assert any(line.startswith(f"OK    {FILM} ") for line in said)
        assert all(line.startswith("OK ") for line in said)

    # The viewing copy has no such excuse.
    (bag / VIEWING).write_bytes((bag / FILM).read_bytes())
    with pytest.raises(ChainBroken, match=f"{VIEWING} is not read to its end: .*h264"):
        check_player(open_bag(bag), FFMPEG)
    for player in players():
        assert [line.split()[1] for line in script(bag, player) if line.startswith("FEJL")] == [VIEWING]


def test_what_no_player_reads(bag: Path) -> None:
    (bag / FILM).write_bytes(b"\0" * 4000)
    with pytest.raises(ChainBroken, match=f"{FILM} is not read to its end"):
        check_player(open_bag(bag), FFMPEG)
    for player in players():
        bad = [line for line in script(bag, player) if line.startswith("FEJL")]
        assert [line.split()[1] for line in bad] == [FILM]


def test_a_film_that_ends_too_soon(bag: Path) -> None:
    """Hashes say it first; the player's own check says it too."""
    os.truncate(bag / FILM, (bag / FILM).stat().st_size * 2 // 3)
    with pytest.raises(ChainBroken, match=f"{FILM} is not read to its end"):
        check_player(open_bag(bag), FFMPEG)
