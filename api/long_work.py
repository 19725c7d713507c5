"""Work that takes long and goes on where it was after a kill: `api/jobs.py` says which.

What there is to do lies in the store's own database, and each job finds it there. DBOS remembers, in a database of its
own beside it, which job was under way and how far: what a kill cut off is taken up at the next start. Nobody depends on
it: each portion may be done twice, and where DBOS does not start the same portions are done without it, with an alarm.
Nothing that DBOS writes down names a key, a person or a case.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID

from api.desk.moments import moment
from api.desk.standing import LONG_WORK_DOWN
from api.services import Alarm
from evidence_store.errors import VidneError

LOOK_EVERY_S: Final = 5.0
"""Seconds between looks for something to do; a job that is asked for is looked at right away."""
AGAIN_AFTER_S: Final = 10.0
"""Seconds until what could not be done is tried again."""
PORTIONS: Final = 16
"""Portions that one workflow does at most: a workflow ends soon, so that its record can go."""
KEPT_S: Final = 24 * 3600.0
"""Seconds that the record of a workflow that ended is kept."""
STOPS_WITHIN_S: Final = 4.0
"""Seconds that a stop waits for the portions that are under way. What it leaves is taken up at the next start."""
LAUNCHED_AGAIN_S: Final = 60.0
"""Seconds until a DBOS that did not start is tried again."""
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_LEFT: Final = ["PENDING", "ENQUEUED", "DELAYED"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """`wanted`: whether there is something to do now; cheap. `portion`: does some of it; whether there is more.

    A portion may be cut off anywhere and done again. What it raises is logged, and it rests for a while.
    """

    name: str
    wanted: Callable[[], bool]
    portion: Callable[[], bool]


@dataclass(slots=True)
class _Standing:
    """How a job stands in this process. `alone`: held while a portion is done; the same job twice does nothing."""

    job: Job
    alone: threading.Lock = field(default_factory=threading.Lock)
    rests_until: float = 0.0


class LongWork:
    """One in a process: DBOS has no more. Owned by whoever calls `start`; neither `start` nor `stop` raises."""

    def __init__(self, database: Path, jobs: Sequence[Job]) -> None:
        self._database = database
        self._jobs = {job.name: _Standing(job) for job in jobs}
        self._ending = threading.Event()
        self._news = threading.Event()
        # Neither thread keeps a process from ending: what they leave is taken up at the next start.
        self._keeper = threading.Thread(target=self._keep, name="long-work", daemon=True)
        self._dbos: DBOS | None = None
        self._down_since: int | None = None
        self._workflow: Callable[[str], None] | None = None
        self._mine: set[str] = set()

    def start(self) -> None:
        """Returns at once: nothing that a house does waits for it."""
        self._keeper.start()

    def poke(self) -> None:
        """Something is wanted: looked for now and not at the next look. Never blocks."""
        self._news.set()

    @property
    def ending(self) -> bool:
        """For portions that take long: from then on they are given up."""
        return self._ending.is_set()

    def stop(self) -> None:
        self._ending.set()
        self._news.set()
        until = time.monotonic() + STOPS_WITHIN_S
        self._keeper.join(STOPS_WITHIN_S)
        for standing in self._jobs.values():
            if not standing.alone.acquire(timeout=max(0.0, until - time.monotonic())):
                log.warning("long_work_left_under_way", job=standing.job.name)
        if not self._keeper.is_alive():
            self._put_down()

    def alarms(self) -> tuple[Alarm, ...]:
        """What stands of it, for the pages."""
        since = self._down_since
        return () if since is None else (Alarm(LONG_WORK_DOWN, moment(since)),)

    # The thread

    def _keep(self) -> None:
        launched_at, swept_at = -LAUNCHED_AGAIN_S, 0.0
        while not self._ending.is_set():
            now = time.monotonic()
            try:
                if self._dbos is None and now - launched_at >= LAUNCHED_AGAIN_S:
                    launched_at = now
                    self._launch()
                self._look()
                if self._dbos is not None and (not swept_at or now - swept_at > KEPT_S):
                    swept_at = now
                    DBOS.delete_workflows([each.workflow_id for each in _workflows(_ENDED) if _old(each)])
                self._ask_less()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look comes
                log.error("long_work_failed", kind=type(error).__name__)
            self._news.wait(LOOK_EVERY_S)
            self._news.clear()

    def _look(self) -> None:
        for standing in self._jobs.values():
            if self._ending.is_set() or standing.alone.locked() or time.monotonic() < standing.rests_until:
                continue
            try:
                if standing.job.wanted():
                    self._begin(standing)
            except VidneError as error:
                log.warning("long_work_waits", job=standing.job.name, code=error.code)
            except Exception as error:  # noqa: BLE001 - a job that cannot be asked holds up no other
                log.error("long_work_failed", job=standing.job.name, kind=type(error).__name__)

    def _begin(self, standing: _Standing) -> None:
        name = standing.job.name
        if self._dbos is not None and self._workflow is not None:
            try:
                with SetWorkflowID(f"{name}-{time.time_ns()}"):
                    DBOS.start_workflow(self._workflow, name)
            except Exception as error:  # noqa: BLE001 - its database failed under it: done without, and tried anew later
                self._down_since = self._down_since or time.time_ns()
                log.error("long_work_without_dbos", kind=type(error).__name__)
                self._put_down()
            else:
                return
        # Without DBOS, in a thread of its own, so that one long job holds up no other.
        threading.Thread(target=self._run, args=(name, self._portion), name=f"long-work-{name}", daemon=True).start()

    def _run(self, name: str, portion: Callable[[str], bool]) -> None:
        """A job's portions, as long as there are more of them; nothing where it is being done already."""
        standing = self._jobs.get(name)
        if standing is None or not standing.alone.acquire(blocking=False):
            return
        try:
            for _ in range(PORTIONS):
                if self._ending.is_set() or not standing.job.wanted() or not portion(name):
                    return
        except VidneError as error:
            standing.rests_until = time.monotonic() + AGAIN_AFTER_S
            log.warning("long_work_waits", job=name, code=error.code)
        finally:
            standing.alone.release()
        # There is more of it.
        self._news.set()

    def _portion(self, name: str) -> bool:
        standing = self._jobs[name]
        try:
            return standing.job.portion()
        except VidneError as error:
            log.warning("long_work_waits", job=name, code=error.code)
        except Exception as error:  # noqa: BLE001 - a job that fails holds up no other, and comes again
            log.error("long_work_failed", job=name, kind=type(error).__name__)
        standing.rests_until = time.monotonic() + AGAIN_AFTER_S
        return False

    # DBOS

    def _launch(self) -> None:
        """Takes up what was under way. Where it cannot, everything is done without it."""
        config: DBOSConfig = {
            "name": "vidne",
            "system_database_url": f"sqlite:///{self._database.absolute()}",
            # Fixed: a new version goes on with what an old one began, and another process's work is left to it.
            "application_version": "1",
            "executor_id": "house",
            "log_level": "ERROR",
            "scheduler_polling_interval_sec": 3600.0,
        }
        try:
            logging.getLogger("dbos").setLevel(logging.CRITICAL)
            self._dbos = DBOS(config=config)
            self._register()
            DBOS.launch()
        except Exception as error:  # noqa: BLE001 - whatever keeps it from starting keeps nothing else
            self._down_since = self._down_since or time.time_ns()
            log.error("long_work_without_dbos", kind=type(error).__name__)
            self._put_down()
        else:
            self._down_since = None

    def _put_down(self) -> None:
        self._dbos = None
        # Given up by its own clock (10 s a thread); what it says is of no use to anybody then.
        with contextlib.suppress(Exception):
            DBOS.destroy(destroy_registry=True)

    def _register(self) -> None:
        @DBOS.step(name="portion")
        def step(name: str) -> bool:
            return self._portion(name)

        @DBOS.workflow(name="long-work")
        def work(name: str) -> None:
            self._mine.add(DBOS.workflow_id or "")
            self._run(name, step)

        self._workflow = work

    def _ask_less(self) -> None:
        """Once what a kill left is taken up, nobody asks for queued workflows any more: nothing here is queued. It is
        what an idle process spent most on."""
        if self._dbos is None or not self._dbos.background_thread_stop_events:
            return
        if all(each.workflow_id in self._mine for each in _workflows(_LEFT)):
            for event in self._dbos.background_thread_stop_events:
                event.set()
            self._dbos.background_thread_stop_events.clear()


def _workflows(statuses: list[str]) -> list[Any]:
    return DBOS.list_workflows(status=statuses, load_input=False, load_output=False)


def _old(status: Any) -> bool:
    return bool(time.time() * 1000 - (status.updated_at or 0) > KEPT_S * 1000)
