"""Keys for starts without any other service: minted by the store beforehand, each for one interview.

    <room folder>/keys/<interview>.json       a key that nothing was sealed to yet
    <room folder>/keys/used/<interview>       one that was given out; it never comes back
    <room folder>/keys/last.json              the one that was given out last

The store keeps each private half, in escrow too, before it lets the public half go. A key says nothing of a case: which
interview it became is written down afterwards, by a person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import structlog
from cryptography import x509

from evidence_store import domains
from evidence_store.canonical import canonical, parse
from evidence_store.durable import fsync_folder
from evidence_store.errors import InvalidInput, Tampered, Unavailable
from evidence_store.sealing import certificates as certs
from recorder.spool import write_durably
from recorder.take import Order

log = structlog.get_logger()

MOST_KEYS: Final = 64
"""More than any store offers: what it sends beyond that is not kept."""

Send = Callable[[str, str, bytes], Awaitable[httpx.Response]]
"""Method, path below the store's intake, body. Raises httpx.HTTPError."""


class KeyPool:
    """The room's keys. `count` is kept in memory; everything else asks the disk: in a thread."""

    def __init__(self, room_folder: Path, enrolment: bytes, root: x509.Certificate) -> None:
        """`root`: whose store's word a key has to have."""
        self._folder = room_folder / "keys"
        self._used = self._folder / "used"
        self._used.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._enrolment = enrolment
        self._root = root
        self.count = len(self._unused())

    def _unused(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.json") if path.name != "last.json")

    def spend(self) -> Order:
        """A key for one interview; durably marked as given out before it is returned. Raises NoSpace, OSError.

        With none left, the last one again: two recordings under one interview are better than none. Raises
        Unavailable `no-key` where there never was one. A crash in here leaves the key unused.
        """
        unused = self._unused()
        last = self._folder / "last.json"
        if not unused:
            if not last.exists():
                raise Unavailable("the store has not given this room any keys yet", code="no-key")
            log.error("key_used_again")
            return Order.decode(last.read_bytes())
        data = unused[0].read_bytes()
        write_durably(last, data)
        unused[0].rename(self._used / unused[0].stem)
        fsync_folder(self._used)
        fsync_folder(self._folder)
        self.count = len(unused) - 1
        return Order.decode(data)

    async def refill(self, send: Send, thread: Callable[..., Awaitable[object]]) -> None:
        """Tells the store which keys are here and which were used, and keeps what it gives. Raises httpx.HTTPError,
        OSError, NoSpace. `thread` runs a function beside the event loop."""
        asked = await thread(self._asking)
        reply = await send("POST", f"keys/{self._enrolment.hex()}", asked if isinstance(asked, bytes) else b"")
        await thread(self._keep, reply.content)

    def _asking(self) -> bytes:
        used = sorted(path.name for path in self._used.iterdir())
        return canonical({"have": [path.stem for path in self._unused()], "used": used})

    def _keep(self, answer: bytes) -> None:
        """Keeps each key that the store signed, and that was not here before."""
        given = parse(answer).get("keys")
        if not isinstance(given, list):
            raise InvalidInput("not an answer with keys", code="key-form")
        for each in given[:MOST_KEYS]:
            order = Order.decode(canonical(each))
            name = order.interview.hex()
            if (self._used / name).exists():
                continue
            try:
                self._check(order)
            except (Tampered, InvalidInput) as error:
                log.error("key_refused", code=error.code)
                continue
            write_durably(self._folder / f"{name}.json", order.encode())
        self.count = len(self._unused())

    def _check(self, order: Order) -> None:
        """The store's word for the key, as every checker of the recording will ask for it. Raises Tampered."""
        store = certs.from_der(order.store_certificate)
        certs.check_issued(store, self._root, certs.STORE)
        signed = order.interview + order.public_key
        certs.check_signature(store, domains.INTERVIEW_KEY_SIGNATURE, signed, order.key_signature)
