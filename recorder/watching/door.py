"""The recorder's end of the watch's connection: which client of the feed it is, what it is shown, what it may say."""

from __future__ import annotations

import errno
import socket
from typing import Final, Protocol

UNIT: Final = 4
WATCH: Final = 18
OBSERVATION: Final = 19
LARGEST_UNIT: Final = 2 * 1024 * 1024
"""Octets of a `unit` message; a larger unit is not shown."""


class Watch(Protocol):
    """What the recorder does with what the watch says; called on its event loop."""

    def well(self) -> None:
        """It has just said that it is there; it does so each second."""

    def observation(self, body: bytes) -> None:
        """Raises ValueError for what is none: it is cut off."""

    def gone(self) -> None: ...


class WatchDoor:
    """At most one watch, and `unwatched`: units that it was not shown, because it was behind or they were too large."""

    def __init__(self, watch: Watch | None) -> None:
        """Without a `watch` to hear it nobody is let in."""
        self._watch = watch
        self.client: socket.socket | None = None
        self.unwatched = 0

    def show(self, parts: list[bytes]) -> bool:
        """Sends or drops, never waits. False when the connection is broken."""
        if self.client is None:
            return True
        try:
            if sum(map(len, parts)) > LARGEST_UNIT:
                self.unwatched += 1
            else:
                self.client.sendmsg(parts)
        except BlockingIOError:
            self.unwatched += 1
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                return False
            self.unwatched += 1
        return True

    def hear(self, client: socket.socket, kind: int, body: bytes) -> socket.socket | None:
        """What this client said. A client that says WATCH is let in, and the one whose place it takes given back.

        Raises ValueError, and changes nothing, for what it may not say.
        """
        if self._watch is None:
            raise ValueError("nobody asked for a watch")
        former = None
        if kind == WATCH:
            if client is not self.client:
                former = self.client
                self._part()
            self.client = client
            self._watch.well()
        elif kind == OBSERVATION and client is self.client:
            self._watch.observation(body)
        else:
            raise ValueError("not for this client to say")
        return former

    def leave(self, client: socket.socket) -> bool:
        """Whether it was the watch that is gone."""
        if client is not self.client:
            return False
        self._part()
        return True

    def _part(self) -> None:
        if self.client is not None and self._watch is not None:
            self.client = None
            self._watch.gone()
