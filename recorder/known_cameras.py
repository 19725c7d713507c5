"""What each camera of a room is known by: where its first connection came from, and under which certificate.

A camera's token can be copied. Whoever publishes with it from elsewhere, or under another certificate than the camera
keeps, is recorded like anybody: a child is speaking. It is an event in the take, in custody, and an alarm in the room
until the camera that is known comes back or somebody confirms the other one.

The first connection is believed: it is made when the room is set up, and shown on the administrator's page. What is
known lies in `<room folder>/cameras.json`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from evidence_store.canonical import Record, canonical, parse
from evidence_store.errors import Conflict, InvalidInput, NoSpace, NotFound
from recorder.peer import Connection
from recorder.spool import write_durably

log = structlog.get_logger()

FILE_TYPE = "vidne/known-cameras/1"


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells one sender from another. `address`: IP address without the port, which is new each time; None where it
    was not seen. `fingerprint`: of the DTLS certificate."""

    address: str | None
    fingerprint: str

    @classmethod
    def of(cls, connection: Connection) -> Self:
        address = connection.address
        return cls(None if address is None else address.rpartition(":")[0].strip("[]"), connection.fingerprint)

    def record(self) -> Record:
        return {"address": self.address, "fingerprint": self.fingerprint}


@dataclass(frozen=True, slots=True)
class Known:
    """`told`: whether a take has it as an enrolment already."""

    marks: Marks
    since_utc_ns: int
    told: bool = False


class KnownCameras:
    """`keeping`: the cameras that keep their certificate from one connection to the next, by the room's profile. Of the
    others (browsers, most encoders) only the address is held against the enrolment."""

    def __init__(self, file: Path, keeping: Collection[str] = ()) -> None:
        self._file, self._keeping = file, frozenset(keeping)
        self._known: dict[str, Known] = {}
        self.strangers: dict[str, Marks] = {}
        """By camera: who sent, or sends, as it and differs from what is known."""
        self._written = b""
        self._load()

    def connected(self, connection: Connection, utc_ns: int) -> list[Record]:
        """What the journal has to say of it, beside the connection itself."""
        camera, found = connection.camera, Marks.of(connection)
        if camera not in self._known:
            self._known[camera] = Known(found, utc_ns)
            return [self._event("enrolled", camera)]
        if not self._differs(camera, found):
            self.strangers.pop(camera, None)
            return []
        self.strangers[camera] = found
        log.warning("camera_is_another_one", camera=camera)
        return [self._changed(camera)]

    def _differs(self, camera: str, found: Marks) -> list[str]:
        known, differs = self._known[camera].marks, []
        if found.address != known.address:
            differs.append("address")
        if camera in self._keeping and found.fingerprint != known.fingerprint:
            differs.append("fingerprint")
        return differs

    def present(self) -> list[Record]:
        """For the beginning of a take: what every camera is held against in it, and who is a stranger."""
        events = [self._event("known" if each.told else "enrolled", camera) for camera, each in self._known.items()]
        return events + [self._changed(camera) for camera in self.strangers]

    def told(self) -> None:
        """A take has what was said until now."""
        self._known = {camera: Known(each.marks, each.since_utc_ns, True) for camera, each in self._known.items()}

    def confirm(self, camera: str, marks: Marks, utc_ns: int) -> list[Record]:
        """From here on the camera is known by `marks`, which somebody has looked at. Raises NotFound where none sends
        or sent as a stranger, Conflict where that is another one by now."""
        found = self.strangers.get(camera)
        if found is None:
            raise NotFound("this camera is no other than the one that is known", code="camera-known")
        if found != marks:
            raise Conflict("another sender came meanwhile", code="camera-other")
        self._known[camera] = Known(found, utc_ns)
        del self.strangers[camera]
        return [self._event("enrolled", camera)]

    def describe(self, camera: str) -> Record | None:
        """For the pages. None for a camera that never connected."""
        known, stranger = self._known.get(camera), self.strangers.get(camera)
        if known is None:
            return None
        return {
            **known.marks.record(),
            "by_certificate": camera in self._keeping,
            "since": str(known.since_utc_ns),
            "stranger": stranger and stranger.record(),
        }

    def _event(self, act: str, camera: str) -> Record:
        known = self._known[camera]
        return {
            "act": act, "by_certificate": camera in self._keeping, "camera": camera, "since": str(known.since_utc_ns),
            "type": "camera", **known.marks.record(),
        }  # fmt: skip

    def _changed(self, camera: str) -> Record:
        found = self.strangers[camera]
        known = self._event("", camera)
        return {
            "act": "changed", "camera": camera, "differs": self._differs(camera, found), "type": "camera",
            "known": {name: known[name] for name in ("address", "fingerprint", "since")}, **found.record(),
        }  # fmt: skip

    # The file

    def unsaved(self) -> bytes | None:
        """What the file has to hold; None where it does."""
        cameras = {
            camera: {**each.marks.record(), "since": str(each.since_utc_ns), "told": each.told}
            for camera, each in self._known.items()
        }
        data = canonical({"cameras": cameras, "type": FILE_TYPE})
        return None if data == self._written or not (cameras or self._written) else data

    async def keep(self) -> None:
        """Writes the file where it has to say something else. A full disk is waited for: what a camera is known by is
        not worth a recording."""
        data = self.unsaved()
        if data is None:
            return
        try:
            await asyncio.to_thread(self.save, data)
        except (NoSpace, OSError) as error:
            log.warning("known_cameras_not_saved", error=type(error).__name__)

    def save(self, data: bytes) -> None:
        """Blocking. A crash before it: the next connection is believed. Raises NoSpace, OSError."""
        write_durably(self._file, data)
        self._written = data

    def _load(self) -> None:
        if not self._file.exists():
            return
        try:
            data = self._file.read_bytes()
            record = parse(data)
            if record["type"] != FILE_TYPE:
                raise InvalidInput("not a file of known cameras", code="known-cameras-form")
            for camera, each in record["cameras"].items():
                marks = Marks(each["address"], each["fingerprint"])
                self._known[camera] = Known(marks, int(each["since"]), bool(each["told"]))
        except (OSError, InvalidInput, KeyError, TypeError, ValueError, AttributeError):
            # Recording goes on; what each camera is known by begins anew, and the takes say since when.
            self._known = {}
            log.error("known_cameras_not_readable")
            return
        self._written = data
