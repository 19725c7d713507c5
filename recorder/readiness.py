"""How the room stands now: what comes from each camera, how long the disk lasts, what fails before a start.

Puts together what cameras, disk, delivery and clock say; what follows from it is decided in `recorder.checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evidence_store.canonical import Record
from recorder.cameras import Cameras
from recorder.checks import Seen, failing, heard_just_now, minutes_left, space_low
from recorder.delivery import DeliveryState
from recorder.ticker import RoomProfile


@dataclass(slots=True)
class Readiness:
    """`free`: what the disk was found to have, in bytes, by whoever looks after it. `clock_set()`: whether this
    machine's clock follows a time service, None where that is not asked. Nothing here asks the disk."""

    profile: RoomProfile
    cameras: Cameras
    delivery: DeliveryState
    clock_set: Callable[[], bool | None]
    free: int = 0

    def seen(self, now_ns: int) -> list[Seen]:
        """Each camera of the room, in its order."""
        found = []
        for camera in self.profile.cameras:
            heard = self.cameras.meters[camera.id].heard(now_ns)
            picture, sound = (
                None if track is None else heard and heard_just_now(self.cameras.tracks[track].last_arrival_ns, now_ns)
                for track in (camera.video, camera.audio)
            )
            found.append(Seen(camera.id, heard, picture, sound))
        return found

    def minutes_left(self) -> float | None:
        """None while no camera sends."""
        return minutes_left(self.free, sum(meter.bitrate for meter in self.cameras.meters.values()))

    def space_low(self) -> bool:
        return space_low(self.free, self.minutes_left())

    def checks(self, now_ns: int) -> list[Record]:
        """What is not as it should be before a start."""
        return failing(
            self.seen(now_ns),
            space_is_low=self.space_low(),
            clock_set=self.clock_set(),
            delivery_trouble=self.delivery.trouble,
            monitored=self.cameras.feed.monitored,
            device_key_away=self.delivery.device_key_away,
        )

    def failed_checks(self, now_ns: int) -> list[Record]:
        """As an event for the journal; none where nothing fails."""
        found = self.checks(now_ns)
        return [{"failed": found, "type": "checks-failed"}] if found else []
