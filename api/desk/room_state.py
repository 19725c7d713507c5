"""The recorder's own words as what pages show. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final

from api.desk.moments import moment
from api.services import Alarm, CameraState, KnownCamera, Lamp, RoomState, Viewer
from evidence_store.canonical import Record
from hardware.profile import RoomProfile

_ALARMING: Final = frozenset({"spool-full", "spool-failing", "not-durable", "test-opening-failed"})
"""Alarms that put the lamp out: what is said to be recorded may not be."""


def room_state(
    described: Record, profile: RoomProfile, now: datetime.datetime, viewers: Sequence[Viewer] = ()
) -> RoomState:
    """`described`: what `RecorderNode.describe` gave, by whatever way."""
    lamp = Lamp.IDLE
    if described["state"] in ("recording", "stopping"):
        lamp = Lamp.RECORDING if described["durable"] else Lamp.NOT_DURABLE
        failing = _ALARMING & set(described["alarms"]) and not described["durable"]
        # Durable or not: where no camera sends, there is nothing that a red lamp could speak of.
        if failing or not any(each["heard"] for each in described["cameras"]):
            lamp = Lamp.ALARM
    # What is said as a reason to look before a start, or of one camera, is not said a second time.
    observed = [
        Alarm(each["kind"], moment(int(each["since"])), _label(each["camera"], profile))
        for each in described.get("observed", ())
    ]
    said = {each["code"] for each in described["checks"]} | {alarm.code for alarm in observed}
    since = described["alarms_since"]
    own = [Alarm(code, moment(int(since[code]))) for code in described["alarms"] if code not in said]
    return RoomState(
        room=described["room"],
        lamp=lamp,
        at=now,
        interview=described["interview"],
        since=None if described["since"] is None else moment(int(described["since"])),
        take=described["take"],
        recording_age=described["durable_age"],
        cameras=tuple(_camera(each, profile) for each in described["cameras"]),
        viewers=tuple(viewers),
        alarms=(*own, *observed),
        checks=tuple(Alarm(each["code"], now, _label(each["camera"], profile)) for each in described["checks"]),
        spool_free=described["spool_free"],
        spool_minutes=described["spool_minutes"],
        undelivered=described["undelivered"],
        memory=described.get("memory"),
    )


def _label(camera: str | None, profile: RoomProfile) -> str | None:
    return None if camera is None else profile.camera(camera).label


def _camera(each: dict[str, Any], profile: RoomProfile) -> CameraState:
    return CameraState(
        each["id"], profile.camera(each["id"]).label, each["connected"], each["silence"], each["bitrate"],
        each["width"], each["height"], each["picture"], each["sound"], _known(each.get("known")),
    )  # fmt: skip


def _known(known: Record | None) -> KnownCamera | None:
    if known is None:
        return None
    stranger = known["stranger"] and (known["stranger"]["address"], known["stranger"]["fingerprint"])
    since = moment(int(known["since"]))
    return KnownCamera(known["address"], known["fingerprint"], since, known["by_certificate"], stranger)
