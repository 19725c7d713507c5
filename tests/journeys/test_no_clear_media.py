"""No clear media on any disk: while it was recorded, watched, played and rendered, and after."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.journeys.clear_media import ENCODER, SHARED, clear, clear_files, files_of
from tests.journeys.conftest import Journey
from tests.journeys.stage import SEI_TEXT


def test_the_search_finds_it_where_it_is(journey: Journey, tmp_path: Path) -> None:
    """In the clip, in what the player got, and in the unpacked copy: its original, and its viewing copy."""
    assert clear(journey.clips["wide"].read_bytes())
    assert clear(journey.played["wide-video"])
    found = clear_files([journey.package])
    assert any("wide-video" in name for name in found)
    assert any(name.endswith("visningskopi.mp4") for name in found)
    text = SEI_TEXT.encode()
    escaped = b"\0\0\x03\x01".join((ENCODER[:4], ENCODER[4:]))
    for number, data in enumerate((text.hex().encode(), base64.b64encode(b"ab" + text + b"cd"), b"\0\0\x03" + text)):
        (tmp_path / str(number)).write_bytes(b"\xff" * number + data)
    assert len(clear_files([tmp_path])) == 3
    assert not clear(escaped)


def test_nothing_in_any_file_while_it_was_recorded(journey: Journey) -> None:
    assert journey.clear_while_recording == []


def test_nothing_in_any_file_while_it_was_copied(journey: Journey) -> None:
    assert journey.clear_while_copying == []


def test_nothing_in_any_file_afterwards(journey: Journey) -> None:
    """The database's own log among them, which is there as long as the house runs."""
    looked_at = [path.name for path in files_of(journey.places)]
    for expected in ("vidne.sqlite", "vidne.sqlite-wal", "000000.segment", "house.log", "close.json", "recovery.key"):
        assert expected in looked_at
    assert any(name.endswith(".tar.age") for name in looked_at)
    assert clear_files(journey.places) == []


def test_nothing_is_left_in_temporary_folders_and_shared_memory(journey: Journey) -> None:
    _, temporary = journey.places
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert clear_files([SHARED]) == []


def test_files_without_a_name_hold_nothing_clear(journey: Journey) -> None:
    """Rendering keeps what it makes in such a file: seen, and encrypted."""
    if not journey.open_files.readable:
        pytest.skip("the processes hide what they have open from everybody but root")
    assert any("/store/copies/" in name for name in journey.open_files.seen)
    assert journey.open_files.clear == set()


def test_a_crash_leaves_no_core(journey: Journey) -> None:
    for name in ("recorder", "monitor", "web"):
        limits = Path(f"/proc/{journey.house.pid(name)}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        # None would be no limit where cores are piped to a program; one byte keeps both from being made.
        assert line.split()[4:6] == ["1", "1"]
        status = Path(f"/proc/{journey.house.pid(name)}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        may_lock = int(fields["CapEff"], 16) >> 14 & 1
        assert not may_lock or int(fields["VmLck"].split()[0]) > 10_000, "keys could come into swap"
