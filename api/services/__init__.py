"""What the routes need from the rest of Vidne: small protocols, and the facts they pass.

Implementations raise the errors of `evidence_store.errors`; the routes turn those into pages and problem details by
`code`. Synchronous methods are called in a worker thread and may do I/O; asynchronous ones run on the event loop and
must not block it. Every time is an aware UTC datetime. Every id is opaque and safe in a URL; a case number never is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from api.services.copies import Copies, CopyState, CopyStatus, CopyStream
from api.services.custody import Custody, CustodyEvent, Holding, Keeping, Retention, Witnesses, WitnessState
from api.services.interviews import Interview, Interviews, Receipt, ReceiptTake
from api.services.media import Gap, Media, MediaInit, MediaSegment, MediaTake, MediaTrack, Observed, Viewing
from api.services.people import Account, Accounts
from api.services.room import Alarm, CameraState, KnownCamera, Lamp, Live, LiveReply, Room, RoomState, Viewer
from api.services.store import StoreStatus
from api.services.surroundings import CameraName, DemoAccount, WebSettings

__all__ = [
    "Account",
    "Accounts",
    "Alarm",
    "CameraName",
    "CameraState",
    "Copies",
    "CopyState",
    "CopyStatus",
    "CopyStream",
    "Custody",
    "CustodyEvent",
    "DemoAccount",
    "Gap",
    "Holding",
    "Interview",
    "Interviews",
    "Keeping",
    "KnownCamera",
    "Lamp",
    "Live",
    "LiveReply",
    "Media",
    "MediaInit",
    "MediaSegment",
    "MediaTake",
    "MediaTrack",
    "Observed",
    "Receipt",
    "ReceiptTake",
    "Retention",
    "Room",
    "RoomState",
    "Services",
    "Viewer",
    "Viewing",
    "WebSettings",
    "WitnessState",
    "Witnesses",
]


@dataclass(frozen=True, slots=True)
class Services:
    accounts: Accounts
    interviews: Interviews
    room: Room
    live: Live
    media: Media
    copies: Copies
    custody: Custody
    store: StoreStatus
    clock: Callable[[], datetime]
    retention: Retention
    witnesses: Witnesses | None = None
    """None where no witness policy is set."""
