"""What the lamp says, from the recorder's own words."""

from __future__ import annotations

from typing import Any

import pytest

from api.desk.room_state import room_state
from api.services import Lamp
from hardware.profile import load_named_profile
from tests.api.fake_people import NOON

PROFILE = load_named_profile("demo")


def described(**changes: Any) -> dict[str, Any]:
    cameras = [
        {
            "bitrate": 1, "connected": True, "heard": True, "height": 1080, "id": camera.id, "picture": True,
            "silence": 0.0, "sound": True, "width": 1920,
        }
        for camera in PROFILE.cameras
    ]  # fmt: skip
    plain = {
        "alarms": [], "cameras": cameras, "checks": [], "durable": True, "durable_age": 0.1, "interview": "ab" * 16,
        "room": "demo", "since": str(10**18), "spool_free": 10**9, "spool_minutes": 90, "state": "recording",
        "take": 3, "undelivered": 0,
    }  # fmt: skip
    made: dict[str, Any] = plain | changes
    return made | {"alarms_since": dict.fromkeys(made["alarms"], str(9 * 10**17))}


def silent(count: int) -> list[dict[str, Any]]:
    return [each | ({"heard": False} if at < count else {}) for at, each in enumerate(described()["cameras"])]


@pytest.mark.parametrize(
    ("changes", "lamp"),
    [
        ({}, Lamp.RECORDING),
        ({"state": "idle", "interview": None}, Lamp.IDLE),
        ({"durable": False}, Lamp.NOT_DURABLE),
        ({"durable": False, "alarms": ["spool-full"]}, Lamp.ALARM),
        ({"cameras": silent(1), "alarms": ["camera-lost"]}, Lamp.RECORDING),
        ({"cameras": silent(2), "alarms": ["camera-lost"]}, Lamp.ALARM),
    ],
)
def test_the_lamp_is_red_only_where_something_is_recorded(changes: dict[str, Any], lamp: Lamp) -> None:
    assert room_state(described(**changes), PROFILE, NOON).lamp is lamp


def test_a_failed_check_is_said_once_and_names_its_camera() -> None:
    checks = [{"camera": "close", "code": "camera-lost"}, {"camera": None, "code": "store-out-of-reach"}]
    state = room_state(
        described(state="idle", checks=checks, alarms=["store-out-of-reach", "take-left-open"]), PROFILE, NOON
    )
    assert [(each.code, each.about) for each in state.checks] == [("camera-lost", "Nær"), ("store-out-of-reach", None)]
    assert [each.code for each in state.alarms] == ["take-left-open"]


def test_what_was_observed_of_a_camera_is_said_once_with_its_name_and_since_when() -> None:
    observed = [{"camera": "close", "kind": "camera-lost", "since": str(10**18)}]
    state = room_state(described(alarms=["camera-lost", "spool-low"], observed=observed), PROFILE, NOON)
    assert [(each.code, each.about) for each in state.alarms] == [("spool-low", None), ("camera-lost", "Nær")]
    assert [each.since.timestamp() for each in state.alarms] == [9 * 10**8, 10**9]
