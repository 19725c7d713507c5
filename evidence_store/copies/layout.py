"""Where things lie in a package, and what its parts are called (docs/formats/package.md)."""

from __future__ import annotations

import re
from typing import Final

COPY_SIGNATURE: Final = "vidne/v1/copy-signature"
"""Domain of the ML-DSA-65 signature over a package's tagmanifest."""
CUSTODY_TYPE: Final = "vidne/custody/1"
VIEWING: Final = "data/viewing/visningskopi.mp4"
ORIGINALS: Final = "data/original/"

_PLAIN_TRACK = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")


def take_label(position: int) -> str:
    """How file names call the take at this place of the manifest, counted from 0: take-001, take-002 …"""
    return f"take-{position + 1:03}"


def original_path(label: str, track_id: str, track_index: int, epoch: int) -> str:
    """Where a track's exact media of one init epoch lies. A track id that is no plain word becomes track-<index>."""
    track = track_id if _PLAIN_TRACK.fullmatch(track_id) else f"track-{track_index}"
    return f"data/original/{label}-{track}-{epoch}.mp4"


def take_folder(enrolment: bytes, number: int) -> str:
    return f"evidence/takes/{enrolment.hex()}-{number}"
