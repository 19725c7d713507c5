"""The pure pieces of a copy: ranges, lists, timeline, the encrypted temporary file."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from evidence_store.copies import ranges
from evidence_store.copies.bag import checksums
from evidence_store.copies.graph import Card, Look, Scene, card_arguments, scene_arguments
from evidence_store.copies.layout import original_path
from evidence_store.copies.timeline import TakeTimeline
from evidence_store.copies.vessel import Vessel
from evidence_store.errors import CiphertextInvalid, InvalidInput

from .conftest import BEGAN, CLOSE, SOUND, WIDE


def line(milliseconds: int = 1_250) -> ranges.Range:
    return ranges.measured(
        b"abc", offset=7, tick=3, salt=bytes(32), milliseconds=milliseconds, utc_ns=BEGAN, track="wide-video",
        kind="media", path="data/original/take-001-wide-video-0.mp4",
    )  # fmt: skip


@pytest.mark.parametrize("milliseconds", [0, 1, 1_250, -40, 7_200_000])
def test_range_written_and_read_is_itself(milliseconds: int) -> None:
    each = line(milliseconds)
    text = f"{ranges.HEADER}\n{each.line()}"
    assert list(ranges.parse(text.encode())) == [each]


@pytest.mark.parametrize(
    "text",
    [
        "",
        line().line(),
        f"{ranges.HEADER}\n{line().line()}".rstrip("\n"),
        f"{ranges.HEADER}\n{line().line()}".replace(" 7 3 ", " 07 3 "),
        f"{ranges.HEADER}\n{line().line()}".replace("media", "words"),
    ],
    ids=["empty", "no_header", "no_last_newline", "offset_with_leading_zero", "unknown_kind"],
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        list(ranges.parse(text.encode()))


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "data/../../x"])
def test_list_that_leaves_the_package(path: str) -> None:
    with pytest.raises(InvalidInput):
        checksums(f"{'0' * 64}  {path}\n".encode())


def test_track_id_that_is_no_plain_word_is_not_a_file_name() -> None:
    assert original_path("take-001", "../../evil", 4, 1) == "data/original/take-001-track-4-1.mp4"


def timeline() -> TakeTimeline:
    found = TakeTimeline.of([WIDE, CLOSE, SOUND])
    for track, scale, spans in ((0, 90, [(0, 250), (250, 500), (3_000, 3_250)]), (2, 48, [(40, 3_300)])):
        for begin, end in spans:
            about = {"from": begin * scale, "to": end * scale}
            found.add({"track": track, "epoch": 0, "about": about}, BEGAN + (end + 30) * 10**6)
    return found


def test_holes_are_where_nothing_came() -> None:
    found = timeline()
    assert (found.begin, found.end) == (0, 3_300)
    assert found.tracks[0].holes(0, 3_300) == [(500, 3_000)]
    assert found.tracks[2].holes(0, 3_300) == []
    assert [each.entry.id for each in found.of_kind("video")] == ["wide-video"], (
        "a camera that sent nothing is not shown"
    )


def test_clock_is_told_or_else_the_least_delay() -> None:
    found = timeline()
    assert found.origin_utc_ns == BEGAN + 30 * 10**6
    found.tell({"events": [{"type": "origin", "utc": str(BEGAN)}]})
    found.add({"track": 0, "epoch": 0, "about": {"from": 0, "to": 1}}, BEGAN - 10**9)
    assert found.utc_span == (BEGAN, BEGAN + 3_300 * 10**6)


def test_pictures_arguments_name_the_clock_and_the_hole_and_nothing_of_the_case() -> None:
    scene = Scene(timeline(), [], 1, 1)
    words = " ".join(scene_arguments(scene, [], Look("c0ffee", "/font.ttf"), 1.0))
    assert "localtime" in words
    assert f"{BEGAN // 10**9}.030" in words
    assert "between(t\\,0.500\\,3.000)" in words or "between(t,0.500,3.000)" in words.replace("\\", "")
    assert "c0ffee" in words
    assert scene.seconds == pytest.approx(3.3)


def test_vessel_keeps_nothing_in_the_clear(tmp_path: Path) -> None:
    vessel, secret = Vessel(tmp_path), b"a child's words " * 5000
    vessel.write(secret)
    vessel.finish()
    assert b"".join(vessel.read()) == b"".join(vessel.read()) == secret
    assert vessel.size == len(secret)
    assert list(tmp_path.iterdir()) == []
    vessel._file.seek(0)
    assert b"child" not in vessel._file.read()
    vessel._file.seek(100)
    vessel._file.write(secrets.token_bytes(16))
    with pytest.raises(CiphertextInvalid):
        list(vessel.read())
    vessel.close()


def test_card_needs_no_input() -> None:
    arguments = card_arguments(Card("HUL / GAP 2.0 s"), Look("c0ffee", "/font.ttf"), 1.0)
    assert "pipe:1" in arguments
    assert not [word for word in arguments if word.startswith("pipe:") and word != "pipe:1"]
