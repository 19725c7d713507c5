"""The long work of a store: each a job that finds in the store's own database what there is to do.

bring     what a vault lacks is brought there from the other
read      every stored copy is read within a set time, and mended
copies    evidence copies that were ordered are checked, rendered and packed
erase     erasures that two people decided are carried out to the end
rotate    a rotation of the key-encryption key that was broken off is brought to its end
stamp-…   what is due for a time stamp is asked of one authority; one job for each
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from api.desk.copies import CopyDesk
from api.long_work import Job
from api.stamping import Asking
from evidence_store.authority import Authority
from evidence_store.erasure import Erasure
from evidence_store.ledger.book import Book
from evidence_store.rotation import Rotation
from evidence_store.scrub import FIRST, Place, Scrub


def bring(scrub: Scrub) -> Job:
    return Job("bring", scrub.anything_lacks, _Bring(scrub).portion)


class _Bring:
    """Remembers how far it is: what could not be brought is passed over until the next round."""

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub
        self._place: Place = FIRST

    def portion(self) -> bool:
        done = self._scrub.bring(self._place)
        self._place = done.after or FIRST
        return self._place != FIRST


def read(scrub: Scrub, days: float, busy: Callable[[], bool]) -> Job:
    """`busy`: whether a recording is under way, when nothing is read that can wait."""
    return Job("read", *_Read(scrub, int(days * 86_400 * 10**9), busy).methods)


class _Read:
    def __init__(self, scrub: Scrub, period_ns: int, busy: Callable[[], bool]) -> None:
        self._scrub, self._period_ns, self._busy = scrub, period_ns, busy
        self._last: int | None = None
        self.methods = self._wanted, self._portion

    def _wanted(self) -> bool:
        return not self._busy() and self._scrub.due(self._last, self._period_ns)

    def _portion(self) -> bool:
        ended = self._scrub.read_on(self._scrub.begin()).ended
        self._last = time.time_ns()
        return not ended


def copies(desk: CopyDesk) -> Job:
    return Job("copies", desk.wanted, desk.make_next)


def erase(erasure: Erasure) -> Job:
    def portion() -> bool:
        erasure.finish()
        return False

    return Job("erase", erasure.anything_left, portion)


def rotate(book: Book, authority: Authority, folder: Path) -> Job:
    """Two keys are there only while a rotation is under way: a console's own, which is waited for, or one that was
    killed."""

    def wanted() -> bool:
        return len(authority.kek.ids()) > 1 and not book.read_only

    def portion() -> bool:
        Rotation(book, authority, folder).finish()
        return False

    return Job("rotate", wanted, portion)


def stamp(asking: Asking) -> Job:
    return Job(f"stamp-{asking.fingerprint[:16]}", asking.wanted, asking.round)
