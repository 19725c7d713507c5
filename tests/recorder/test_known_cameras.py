"""What a camera is known by: who connected first, who differs, who is confirmed, and what a file remembers of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evidence_store.errors import Conflict, NotFound
from recorder.known_cameras import KnownCameras, Marks
from recorder.peer import Connection

FIRST, OTHER = "sha-256 AB", "sha-256 66"


def connects(known: KnownCameras, address: str | None = "10.0.0.7:5000", fingerprint: str = FIRST) -> list[Any]:
    """What the journal hears: act and what differs."""
    said = known.connected(Connection("c", "wide", fingerprint, address, {}), 7)
    return [(each["act"], each.get("differs")) for each in said]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cameras.json"


def test_the_first_is_believed_and_the_port_says_nothing(file: Path) -> None:
    known = KnownCameras(file)
    assert connects(known) == [("enrolled", None)]
    assert connects(known, "10.0.0.7:6000") == []
    assert known.strangers == {}


@pytest.mark.parametrize(
    ("keeping", "address", "fingerprint", "differs"),
    [
        ((), "10.0.0.7:1", OTHER, []), (("wide",), "10.0.0.7:1", OTHER, ["fingerprint"]),
        ((), "10.0.0.8:1", FIRST, ["address"]), (("wide",), "10.0.0.8:1", OTHER, ["address", "fingerprint"]),
        ((), "[fd00::7]:1", FIRST, ["address"]), ((), None, FIRST, ["address"]),
    ],
)  # fmt: skip
def test_who_differs_is_told(
    file: Path, keeping: tuple[str, ...], address: str | None, fingerprint: str, differs: list[str]
) -> None:
    known = KnownCameras(file, keeping)
    connects(known)
    assert connects(known, address, fingerprint) == ([("changed", differs)] if differs else [])
    assert set(known.strangers) == ({"wide"} if differs else set())
    assert connects(known) == []
    assert known.strangers == {}, "the known one is back"


def test_a_file_that_cannot_be_read_keeps_no_room_from_starting(file: Path) -> None:
    file.mkdir()
    assert connects(KnownCameras(file)) == [("enrolled", None)]


def test_every_take_begins_with_what_is_held_against_whom(file: Path) -> None:
    known = KnownCameras(file)
    assert known.present() == []
    connects(known)
    assert [each["act"] for each in known.present()] == ["enrolled"]
    known.told()
    connects(known, "10.6.6.6:1")
    first, second = known.present()
    assert (first["act"], first["address"], first["since"]) == ("known", "10.0.0.7", "7")
    assert (second["act"], second["address"], second["known"]["address"]) == ("changed", "10.6.6.6", "10.0.0.7")


def test_only_who_was_looked_at_is_confirmed(file: Path) -> None:
    known, stranger = KnownCameras(file), Marks("10.6.6.6", OTHER)
    connects(known)
    with pytest.raises(NotFound):
        known.confirm("wide", stranger, 9)
    connects(known, "10.6.6.6:1", OTHER)
    with pytest.raises(Conflict):
        known.confirm("wide", Marks("10.0.0.9", OTHER), 9)
    assert set(known.strangers) == {"wide"}, "refused, and nothing changed"
    (said,) = known.confirm("wide", stranger, 9)
    assert (said["act"], said["address"], said["since"]) == ("enrolled", "10.6.6.6", "9")
    assert connects(known) == [("changed", ["address"])]


def test_what_is_known_outlives_the_process(file: Path) -> None:
    known = KnownCameras(file)
    assert known.unsaved() is None
    connects(known)
    data = known.unsaved()
    assert data is not None
    known.save(data)
    assert known.unsaved() is None
    again = KnownCameras(file)
    assert again.unsaved() is None
    assert connects(again, "10.6.6.6:1") == [("changed", ["address"])]
    assert again.describe("close") is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"cameras":{"wide":{}},"type":"vidne/known-cameras/1"}'])
def test_a_file_that_is_none_begins_anew(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    known = KnownCameras(file)
    assert connects(known) == [("enrolled", None)]
    assert known.unsaved() is not None
