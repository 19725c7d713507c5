"""A room's cameras and tracks, read from a TOML profile (`hardware/rooms/*.toml`).

Strict: a key that is misspelt is refused rather than ignored, since a camera that silently is not recorded is a lost
interview. Secrets are never in a profile: a camera's token is given by whoever enrols it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any

IDENTIFIER = re.compile(r"[a-z][a-z0-9-]{0,31}")
LABEL_LENGTH = 64
CAMERAS_AT_MOST = 12
VIDEO_CODECS = frozenset({"h264", "h265", "vp8", "vp9", "av1"})
AUDIO_CODECS = frozenset({"opus"})

_ROOM_KEYS = frozenset({"room", "label", "house", "cameras"})
_CAMERA_KEYS = frozenset(
    {"id", "label", "video", "audio", "video_codec", "audio_codec", "frame_rate", "keeps_certificate"}
)
FRAME_RATES = range(5, 121)


class InvalidProfile(ValueError):  # noqa: N818 - said of the profile
    """A room profile that cannot be used.

    `where` is the file (or other source), `field` the place in it, such as `cameras[1].id`.
    """

    def __init__(self, where: str, field: str, reason: str) -> None:
        super().__init__(f"{where}: {field}: {reason}")
        self.where = where
        self.field = field
        self.reason = reason


class Media(StrEnum):
    """What a track carries."""

    VIDEO = "video"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class Track:
    """One camera's picture or one microphone."""

    id: str
    camera: str
    media: Media
    codec: str


@dataclass(frozen=True, slots=True)
class Camera:
    """One WHIP publisher. A codec is what the camera is expected to send; None where it sends no such track.

    `frame_rate`: pictures a second that it is set to, None where the profile does not say. `keeps_certificate`: each
    of its connections comes under the same DTLS certificate, so that another one is another sender.
    """

    id: str
    label: str
    video: bool
    audio: bool
    video_codec: str | None
    audio_codec: str | None
    frame_rate: int | None = None
    keeps_certificate: bool = False

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Its tracks, `<camera>-video` before `<camera>-audio`."""
        codecs = ((Media.VIDEO, self.video_codec), (Media.AUDIO, self.audio_codec))
        return tuple(Track(f"{self.id}-{media}", self.id, media, codec) for media, codec in codecs if codec is not None)


@dataclass(frozen=True, slots=True)
class RoomProfile:
    """One interview room. `label` and `house` are shown on (Danish) screens, `room` is used in paths and records."""

    room: str
    label: str
    house: str
    cameras: tuple[Camera, ...]

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Every track of the room, in the profile's order."""
        return tuple(track for camera in self.cameras for track in camera.tracks)

    def camera(self, camera_id: str) -> Camera:
        """The camera of that id; KeyError if the room has none."""
        for camera in self.cameras:
            if camera.id == camera_id:
                return camera
        raise KeyError(camera_id)


def load_profile(path: Path) -> RoomProfile:
    """Read a profile from a file. Raises InvalidProfile, or OSError if the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidProfile(str(path), "file", "is not UTF-8") from error
    return parse_profile(text, where=str(path))


def load_named_profile(name: str) -> RoomProfile:
    """Read a profile that comes with Vidne (`demo`, `audio_only`). Raises InvalidProfile if there is none such."""
    if name not in named_profiles():
        raise InvalidProfile(name, "name", f"no such profile; there are: {', '.join(named_profiles())}")
    resource = resources.files("hardware.rooms") / f"{name}.toml"
    return parse_profile(resource.read_text(encoding="utf-8"), where=f"{name}.toml")


def named_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with Vidne, sorted."""
    files = resources.files("hardware.rooms").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def parse_profile(text: str, *, where: str) -> RoomProfile:
    """Parse a profile's TOML; `where` names its source in errors. Raises InvalidProfile."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidProfile(where, "file", f"is not TOML: {error}") from error
    top = _Table(where, "", document, _ROOM_KEYS)
    cameras = document.get("cameras")
    if not isinstance(cameras, list) or not cameras:
        raise InvalidProfile(where, "cameras", "must be one or more [[cameras]] tables")
    if len(cameras) > CAMERAS_AT_MOST:
        raise InvalidProfile(where, "cameras", f"are {len(cameras)}, at most {CAMERAS_AT_MOST} to a room")
    parsed = tuple(_camera(_Table(where, f"cameras[{n}].", camera, _CAMERA_KEYS)) for n, camera in enumerate(cameras))
    for number, camera in enumerate(parsed):
        if any(camera.id == earlier.id for earlier in parsed[:number]):
            raise InvalidProfile(where, f"cameras[{number}].id", f"{camera.id!r} is used twice")
    return RoomProfile(top.identifier("room"), top.label("label"), top.label("house"), parsed)


def _camera(table: _Table) -> Camera:
    video, audio = table.flag("video"), table.flag("audio")
    if not video and not audio:
        raise InvalidProfile(
            table.where, f"{table.prefix}video", "a camera with neither video nor audio records nothing"
        )
    return Camera(
        id=table.identifier("id"),
        label=table.label("label"),
        video=video,
        audio=audio,
        video_codec=table.codec("video_codec", VIDEO_CODECS, sent=video),
        audio_codec=table.codec("audio_codec", AUDIO_CODECS, sent=audio),
        frame_rate=table.frame_rate("frame_rate", sent=video),
        keeps_certificate="keeps_certificate" in table.values and table.flag("keeps_certificate"),
    )


class _Table:
    """One TOML table, its fields taken out one at a time, each with a complaint of its own."""

    def __init__(self, where: str, prefix: str, values: Any, known: frozenset[str]) -> None:
        self.where = where
        self.prefix = prefix
        if not isinstance(values, dict):
            raise InvalidProfile(where, prefix.rstrip("."), "must be a table")
        for key in values:
            if key not in known:
                raise InvalidProfile(where, f"{prefix}{key}", f"unknown key; known are {', '.join(sorted(known))}")
        self.values: dict[str, Any] = values

    def _refuse(self, key: str, reason: str) -> InvalidProfile:
        return InvalidProfile(self.where, f"{self.prefix}{key}", reason)

    def _required(self, key: str, kind: type) -> Any:
        if key not in self.values:
            raise self._refuse(key, "is missing")
        value = self.values[key]
        if not isinstance(value, kind):
            raise self._refuse(key, f"must be {'true or false' if kind is bool else 'text'}, not {value!r}")
        return value

    def identifier(self, key: str) -> str:
        value: str = self._required(key, str)
        if not IDENTIFIER.fullmatch(value):
            raise self._refuse(key, f"{value!r} is not an id: a–z first, then a–z, 0–9 and hyphens, 32 at most")
        return value

    def label(self, key: str) -> str:
        value: str = self._required(key, str)
        if not value.strip() or len(value) > LABEL_LENGTH or not value.isprintable():
            raise self._refuse(key, f"must be 1 to {LABEL_LENGTH} printable characters")
        return value

    def flag(self, key: str) -> bool:
        value: bool = self._required(key, bool)
        return value

    def frame_rate(self, key: str, *, sent: bool) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not sent or type(value) is not int or value not in FRAME_RATES:
            least, most = FRAME_RATES[0], FRAME_RATES[-1]
            raise self._refuse(key, f"{value!r} is not a picture's rate: a whole number from {least} to {most}")
        rate: int = value
        return rate

    def codec(self, key: str, known: frozenset[str], *, sent: bool) -> str | None:
        if not sent:
            if key in self.values:
                raise self._refuse(key, "names a codec for a track that this camera does not send")
            return None
        value: str = self._required(key, str)
        if value not in known:
            raise self._refuse(key, f"{value!r} is not supported; {', '.join(sorted(known))} is")
        return value
