"""The room's own code: whoever holds it may start, stop and watch in this room when nothing else answers.

Made by the room itself, kept in a file of its own, printed and laid ready. It is typed, never in a URL, never logged.
A session is a signed cookie, so that it outlives a recorder that is started again in the middle of an interview.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from typing import Final

from evidence_store.errors import NotAuthenticated

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without signs that look like one another on paper."""
GROUP, GROUPS = 4, 2
FAILURES: Final = 5
WINDOW_SECONDS: Final = 60.0
"""So many wrong codes in so long, whoever types them: then nobody may try until the window is past. Forty bits take
longer than a building stands; an hour's lock would keep out those who need the room."""
SESSION_SECONDS: Final = 12 * 3600


def new_code() -> str:
    """As in `K7QF-2MXD`: 31⁸, nearly 40 bits."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))
    return "-".join(groups)


def _plain(text: str) -> str:
    return "".join(sign for sign in text.upper() if sign.isalnum())


class RoomCode:
    """`key`: this room's secret for sessions. A new code ends every session."""

    def __init__(self, code: str, key: str) -> None:
        self._code = _plain(code).encode()
        self._key = hashlib.sha256(b"vidne room session 1\x00" + key.encode() + b"\x00" + self._code).digest()
        self._failures: deque[float] = deque(maxlen=FAILURES)

    def open(self, given: str, now: float) -> str:
        """A session's token. Raises NotAuthenticated `room-code`, or `room-code-wait` after too many wrong ones.

        `now`: seconds since 1970.
        """
        # Below zero the clock was set back meanwhile: that may not keep out who needs the room.
        if len(self._failures) == FAILURES and 0 <= now - self._failures[0] < WINDOW_SECONDS:
            raise NotAuthenticated("too many wrong codes", code="room-code-wait")
        if not hmac.compare_digest(_plain(given[:64]).encode(), self._code):
            self._failures.append(now)
            raise NotAuthenticated("not the room's code", code="room-code")
        self._failures.clear()
        said = f"{int(now) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{said}.{self._sign(said)}"

    def holds(self, token: str | None, now: float) -> bool:
        """Whether a session's token is ours and still good."""
        said, _, signature = (token or "").rpartition(".")
        expires = said.partition(".")[0]
        same = hmac.compare_digest(self._sign(said).encode(), signature.encode("utf-8", "surrogateescape"))
        return same and expires.isascii() and expires.isdecimal() and now < int(expires)

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
