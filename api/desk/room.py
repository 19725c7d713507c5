"""The room node as the web application sees it: state, orders, and the live picture's signalling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx
from starlette.concurrency import run_in_threadpool

from api.desk.accounts import DatabaseAccounts, actor_of
from api.desk.moments import moment
from api.desk.room_state import room_state
from api.services import Account, Alarm, LiveReply, RoomState, Viewer
from evidence_store.canonical import Record, canonical
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.errors import Conflict, NoSpace, NotFound, OutOfReach, Refused, Unavailable, VidneError
from evidence_store.ledger.book import Book
from evidence_store.people import Role
from hardware.profile import RoomProfile
from recorder.take import Order, State

ROOM_PAGE = "room-page"
"""Who watches on the room's own page, where a code opens and no person signs in."""
ROOM_PAGE_NAME = "Rummets egen side"

_BUSY = frozenset({f"room-{state}" for state in State if state is not State.IDLE})
"""What the recorder says where it has something else to do."""


class RoomClient:
    """Talks to recorder and monitor. Both clients carry their bearer token; nothing here waits longer than they do."""

    def __init__(
        self,
        recorder: httpx.AsyncClient,
        monitor: httpx.AsyncClient,
        profile: RoomProfile,
        accounts: DatabaseAccounts,
        book: Book,
        alarms: Callable[[], Sequence[Alarm]] = tuple,
    ) -> None:
        """`alarms`: what stands of the store's own, shown beside the room's; blocking."""
        self._alarms = alarms
        self._recorder = recorder
        self._monitor = monitor
        self._profile = profile
        self._accounts = accounts
        self._book = book
        self._sessions: dict[str, tuple[str, str]] = {}
        self._recording = False

    # Orders

    async def describe(self) -> Record:
        """The recorder's own words. Raises OutOfReach."""
        reply = await self._ask("GET", "room/state")
        described: Record = reply.json()
        self._recording = described["state"] != "idle"
        return described

    def recording(self) -> bool:
        """Whether the room was recording when it was last asked. For other threads."""
        return self._recording

    async def start(self, order: Order) -> int:
        """The take's number. Raises Conflict `room-busy`, and what the recorder refuses with."""
        try:
            reply = await self._ask("POST", "room/start", order.encode())
        except Conflict as error:
            if error.code in _BUSY:
                raise Conflict("the room is recording", code="room-busy") from error
            raise
        self._recording = True
        return int(reply.json()["take"])

    async def stop(self) -> Record:
        """`take` and `head` of the closed take."""
        reply = await self._ask("POST", "room/stop", b"")
        closed: Record = reply.json()
        self._recording = False
        return closed

    async def confirm_camera(self, camera: str, address: str | None, fingerprint: str, account: Account) -> None:
        # A crash before custody has it: the next take says by itself what it is known by from now on.
        await run_in_threadpool(self._book.require_entries)
        marks = {"address": address, "fingerprint": fingerprint}
        await self._ask("POST", f"room/cameras/{camera}", canonical(marks))
        details = {"camera": camera, **marks}
        event = CustodyEvent(Verb.CAMERA_CONFIRMED, self._book.clock(), actor_of(account), details=details)
        await run_in_threadpool(self._book.record, event)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        try:
            reply = await self._recorder.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise OutOfReach("the room node does not answer", code="room-out-of-reach") from error
        if reply.is_success:
            return reply
        raise _refusal(reply)

    # State

    async def state(self) -> RoomState:
        described = await self.describe()
        now = moment(self._book.clock())
        viewers = await self._viewers()
        state = room_state(described, self._profile, now, viewers)
        return replace(state, alarms=(*state.alarms, *await run_in_threadpool(self._alarms)))

    async def _viewers(self) -> tuple[Viewer, ...]:
        """Who watches, by name; nobody when the monitor process is being started again."""
        try:
            reply = await self._monitor.get("viewers")
            reply.raise_for_status()
        except httpx.HTTPError:
            return ()
        since: dict[str, int] = {}
        for row in reply.json()["viewers"]:
            at = int(row["since_utc_ns"])
            since[row["viewer"]] = min(at, since.get(row["viewer"], at))
        found = []
        for viewer, at in since.items():
            account = await run_in_threadpool(self._accounts.by_id, viewer)
            if account is not None:
                found.append(Viewer(account.name, account.role, moment(at)))
            elif viewer == ROOM_PAGE:
                found.append(Viewer(ROOM_PAGE_NAME, Role.OPERATOR, moment(at)))
        return tuple(sorted(found, key=lambda each: each.since))

    # Live

    async def whep_post(self, camera: str, offer: bytes, viewer: Account) -> LiveReply:
        headers = {"Content-Type": "application/sdp", "Vidne-Viewer": viewer.id}
        try:
            reply = await self._monitor.post(f"whep/{camera}", content=offer, headers=headers)
        except httpx.HTTPError as error:
            raise OutOfReach("the monitor room's process does not answer", code="room-out-of-reach") from error
        session = None
        if reply.status_code == httpx.codes.CREATED:
            session = reply.headers["location"].rsplit("/", 1)[1]
            self._sessions[session] = (viewer.id, camera)
        retry = reply.headers.get("retry-after")
        content_type = reply.headers.get("content-type", "application/octet-stream")
        return LiveReply(reply.status_code, reply.content, content_type, session, None if retry is None else int(retry))

    async def renew(self, camera: str, session: str, viewer: Account) -> bool:
        if self._sessions.get(session) != (viewer.id, camera):
            return False
        try:
            reply = await self._monitor.put(f"whep/{camera}/{session}/lease")
        except httpx.HTTPError:
            return False
        if not reply.is_success:
            self._sessions.pop(session, None)
        return reply.is_success

    async def delete(self, camera: str, session: str, viewer: Account) -> None:
        if self._sessions.get(session) != (viewer.id, camera):
            return
        del self._sessions[session]
        try:
            await self._monitor.delete(f"whep/{camera}/{session}")
        except httpx.HTTPError as error:
            # The lease ends it within 15 s all the same.
            raise OutOfReach("the monitor room's process does not answer", code="room-out-of-reach") from error


def _refusal(reply: httpx.Response) -> VidneError:
    """The recorder's problem details as the error it was."""
    try:
        code, detail = str(reply.json()["code"]), str(reply.json()["detail"])
    except (ValueError, KeyError):
        return OutOfReach("the room node answered unexpectedly", code="room-out-of-reach")
    if code == "spool-full":
        return NoSpace(detail, code=code)
    if reply.status_code == httpx.codes.NOT_FOUND:
        return NotFound(detail, code=code)
    if reply.status_code == httpx.codes.CONFLICT:
        return Conflict(detail, code=code)
    return Unavailable(detail, code=code) if reply.status_code >= 500 else Refused(detail, code=code)
