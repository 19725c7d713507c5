"""What somebody in the room wrote down, on its way to the custody chain: why a start was made in spite of a check.

    <room folder>/notes/<id>.json      signed by the device; gone once the store has it

Words of people are never put into a take: takes are kept for good, and a name may be among the words.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import structlog

from evidence_store.durable import fsync_folder
from evidence_store.errors import InvalidInput, Unavailable
from evidence_store.identifiers import refuse_cpr
from recorder.device import Device
from recorder.key_pool import Send
from recorder.spool import write_durably

log = structlog.get_logger()

LENGTH: Final = (5, 500)
MOST_WAITING: Final = 256


class Notes:
    """Asks the disk: everything but `deliver` in a thread."""

    def __init__(self, room_folder: Path, device: Device) -> None:
        self._folder = room_folder / "notes"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._device = device

    def write(self, text: str, interview: bytes, take: int, utc_ns: int) -> None:
        """Durable when it returns. Raises InvalidInput `purpose` (length) or `cpr-number`; Unavailable where too many
        wait; NoSpace, OSError."""
        text = " ".join(text.split())
        least, greatest = LENGTH
        if not least <= len(text) <= greatest:
            raise InvalidInput("a reason is too short or too long", code="purpose")
        refuse_cpr(text)
        if len(self._waiting()) >= MOST_WAITING:
            raise Unavailable("too many notes wait for the store", code="notes-waiting")
        name = secrets.token_hex(16)
        write_durably(self._folder / f"{name}.json", self._device.note(name, interview, take, text, utc_ns))

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    async def deliver(self, send: Send, thread: Callable[..., Awaitable[object]]) -> None:
        """Each note to the store, and then off this disk. One that it refuses stays, and holds up no other.

        Raises httpx.HTTPError where the store is not there.
        """
        waiting = await thread(self._waiting)
        for path in waiting if isinstance(waiting, list) else []:
            data = await thread(path.read_bytes)
            try:
                await send("PUT", f"notes/{path.stem}", data if isinstance(data, bytes) else b"")
            except httpx.HTTPStatusError as error:
                if error.response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                log.error("note_refused", status=error.response.status_code)
                continue
            await thread(self._forget, path)

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        fsync_folder(self._folder)
