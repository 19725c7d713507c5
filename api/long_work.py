"""Work that takes long and goes on where it was after a kill: second copies, and the reading of everything stored.

Each piece is a workflow of DBOS: what it has done is in a database of its own, beside that of the store, and what was
under way when the process died is taken up again at the next start. Arguments and results are numbers and objects'
names: never a key, a person's name or a case number. Each step may be done twice, since a crash can fall between a
step and its note.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowHandle

from evidence_store.errors import VidneError
from evidence_store.scrub import FIRST, Scrub

LOOK_EVERY_S: Final = 5.0
"""Seconds between looks for something to do."""
AGAIN_AFTER_S: Final = 10.0
"""Seconds until what could not be done is tried again."""
PORTIONS: Final = 16
"""Portions that one workflow reads at most: a workflow ends soon, so that a stop need not wait for it."""
KEPT_S: Final = 24 * 3600.0
"""Seconds that the record of a workflow that ended is kept."""
_BRING, _READ = "bring", "read"
_UNDER_WAY = ["PENDING", "ENQUEUED", "DELAYED"]
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

log = structlog.get_logger(__name__)


class LongWork:
    """One in a process: DBOS has no more. `busy` says that a recording is under way, when nothing is read that can
    wait. Owned by whoever calls `start`; `stop` waits for the step that is under way."""

    def __init__(self, database: Path, scrub: Scrub, *, scrub_days: float, busy: Callable[[], bool]) -> None:
        self._database = database
        self._scrub = scrub
        self._period_ns = int(scrub_days * 86_400 * 10**9)
        self._busy = busy
        self._ending = threading.Event()
        self._read_last: int | None = None
        self._not_before = self._read_not_before = 0.0
        self._keeper = threading.Thread(target=self._keep, name="long-work")
        self._workflows: dict[str, Callable[[], Any]] = {}
        self._begun: dict[str, WorkflowHandle[Any]] = {}

    def start(self) -> None:
        """Launches DBOS, which takes up what was under way, and looks from then on for what is to be done."""
        config: DBOSConfig = {
            "name": "vidne",
            "system_database_url": f"sqlite:///{self._database.absolute()}",
            # Fixed: a new version goes on with what an old one began, and another process's work is left to it.
            "application_version": "1",
            "executor_id": "house",
            "log_level": "ERROR",
        }
        DBOS(config=config)
        self._register()
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS.launch()
        self._keeper.start()

    def stop(self) -> None:
        self._ending.set()
        self._keeper.join()
        for handle in self._begun.values():
            # What fails now is taken up at the next start.
            with contextlib.suppress(Exception):
                handle.get_result(polling_interval_sec=0.05)
        DBOS.destroy(destroy_registry=True)

    def _register(self) -> None:
        scrub = self._scrub

        @DBOS.step(name="bring-portion")
        def bring_portion(name: str, vault: str) -> list[Any]:
            """`[brought, failed, where to go on]`, or nothing while it cannot be done."""
            try:
                done = scrub.bring((name, vault))
            except VidneError as error:
                log.warning("second_copies_wait", code=error.code)
                return []
            return [done.brought, done.failed, None if done.after is None else list(done.after)]

        @DBOS.workflow(name=_BRING)
        def bring() -> int:
            brought, place = 0, list(FIRST)
            while not self._ending.is_set():
                done = bring_portion(*place)
                if not done or done[1]:
                    self._not_before = time.monotonic() + AGAIN_AFTER_S
                if not done or done[2] is None:
                    break
                brought += done[0]
                place = done[2]
            return brought

        @DBOS.step(name="read-portion")
        def read_portion() -> bool:
            """Whether there is more of this reading."""
            try:
                return not scrub.read_on(scrub.begin()).ended
            except VidneError as error:
                log.warning("scrub_waits", code=error.code)
                self._read_not_before = time.monotonic() + AGAIN_AFTER_S
                return False

        @DBOS.workflow(name=_READ)
        def read() -> None:
            for _ in range(PORTIONS):
                if self._ending.is_set() or self._busy() or not self._due() or not read_portion():
                    break
                self._read_last = time.time_ns()

        self._workflows = {_BRING: bring, _READ: read}

    def _due(self) -> bool:
        return self._scrub.due(self._read_last, self._period_ns)

    def _keep(self) -> None:
        swept = 0.0
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                under_way = {each.name for each in _workflows(_UNDER_WAY)}
                if _BRING not in under_way and time.monotonic() > self._not_before and self._scrub.anything_lacks():
                    self._begin(_BRING)
                waits = time.monotonic() < self._read_not_before
                if _READ not in under_way and not waits and not self._busy() and self._due():
                    self._begin(_READ)
                if time.monotonic() - swept > KEPT_S or not swept:
                    swept = time.monotonic()
                    DBOS.delete_workflows([each.workflow_id for each in _workflows(_ENDED) if _old(each)])
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look comes
                log.error("long_work_failed", kind=type(error).__name__)

    def _begin(self, name: str) -> None:
        with SetWorkflowID(f"{name}-{time.time_ns()}"):
            self._begun[name] = DBOS.start_workflow(self._workflows[name])


def _workflows(statuses: list[str]) -> list[Any]:
    return DBOS.list_workflows(status=statuses, load_input=False, load_output=False)


def _old(status: Any) -> bool:
    return bool(time.time() * 1000 - (status.updated_at or 0) > KEPT_S * 1000)
