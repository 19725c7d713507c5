"""Any console: also one of Windows that knows 256 letters (cp850, cp1252), and a package that would like to draw on it.

What a package says of itself is printed as text and nothing else: signs that move a cursor, change colours or turn the
direction of writing become `?`.
"""

from __future__ import annotations

import contextlib
import locale
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

_PLAINER: Final = str.maketrans({"–": "-", "—": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "→": "->", "’": "'"})
_EVERY_S: Final = 0.2
_WIDTH: Final = 78


def fitting(text: str, encoding: str | None) -> str:
    """The text with every line of it printable, and with nothing that this encoding lacks."""
    lines = ("".join(sign if sign.isprintable() else "?" for sign in line) for line in text.split("\n"))
    shown = "\n".join(lines)
    try:
        shown.encode(encoding or "utf-8")
    except LookupError:
        return shown.translate(_PLAINER).encode("ascii", "replace").decode("ascii")
    except UnicodeEncodeError:
        name = encoding or "utf-8"
        return shown.translate(_PLAINER).encode(name, "replace").decode(name)
    return shown


def language_of(environment: Mapping[str, str], system: str | None) -> str:
    """`da` or `en`: by LC_ALL, LC_MESSAGES, LANG, then by what the system calls itself; Danish where nobody says."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        said = environment.get(name, "").lower()
        if said and said.partition(".")[0] not in ("c", "posix"):
            return "en" if said.startswith("en") else "da"
    return "en" if (system or "").lower().startswith("en") else "da"


class Screen:
    """Lines on `out`, and, where it is `shown`, one line of progress on `err` that is written over again and again.

    `clock`: seconds, for how often that line is written. Progress may be told from any thread.
    """

    def __init__(
        self, out: TextIO, err: TextIO, *, shown: bool, word: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out, self._err, self._shown, self._word, self._clock = out, err, shown, word, clock
        self._over = bool(getattr(err, "isatty", lambda: False)())
        self._lock, self._last, self._standing, self._tenth = threading.Lock(), -_EVERY_S, False, -1

    def line(self, text: str = "") -> None:
        with self._lock:
            self._clear()
            self._write(self._out, fitting(text, getattr(self._out, "encoding", None)) + "\n")

    def warn(self, text: str) -> None:
        with self._lock:
            self._clear()
            self._write(self._err, fitting(text, getattr(self._err, "encoding", None)) + "\n")

    def progress(self, done: int, whole: int) -> None:
        """On a terminal the line is written over; in a file there is one for each tenth."""
        if not self._shown or not whole:
            return
        with self._lock:
            now, tenth = self._clock(), 10 * done // whole
            if now - self._last < _EVERY_S if self._over else tenth <= self._tenth:
                return
            self._last, self._tenth = now, tenth
            self._state(f"{self._word} {100 * done // whole} % ({done >> 20} / {whole >> 20} MiB)")

    def state(self, text: Callable[[], str]) -> None:
        """As `progress`, in words of the caller's, who is asked for them only when they are shown. Terminals only."""
        with self._lock:
            now = self._clock()
            if self._shown and self._over and now - self._last >= _EVERY_S:
                self._last = now
                self._state(text())

    def _state(self, said: str) -> None:
        text = fitting(said, getattr(self._err, "encoding", None))
        self._standing = self._over
        self._write(self._err, f"\r{text:{_WIDTH}}" if self._over else f"{text}\n")

    def _clear(self) -> None:
        if self._standing:
            self._write(self._err, "\r" + " " * _WIDTH + "\r")
            self._standing = False

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        """A stream that nobody reads any more changes nothing of what is found out, nor of the exit code."""
        with contextlib.suppress(OSError, ValueError):
            stream.write(text)
            stream.flush()


def environment_language() -> str:
    """As `language_of`, of this process. Only Windows is asked what it calls itself: elsewhere the variables say it."""
    system = None
    if os.name == "nt":
        with contextlib.suppress(locale.Error):
            system = locale.setlocale(locale.LC_CTYPE, "")
    return language_of(os.environ, system)
