"""The steps of a drill, in order, each with its figures. A step that fails ends the drill; what ran is reported."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import typer
from rich.console import Console
from sqlalchemy import select

from api.drill.faults import Fault, fault_named
from api.drill.house import House, loopback_settings
from api.drill.package import flip_one_byte, run_script, unpack, verified
from api.drill.viewer import watch
from api.drill.visitor import DrillFailed, Visitor
from api.processes.authority import authority_programs, with_demo_authority
from api.processes.demo import demo_key, make_clips
from api.settings import Settings
from api.wiring import Store, open_store
from evidence_store.audit import Audit
from evidence_store.canonical import parse
from evidence_store.database.schema import CopyRow, InterviewRow
from evidence_store.errors import VidneError

CASE_NUMBER: Final = "0100-83986-00001-26"
STEP_WITHIN: Final = 60.0


@dataclass(slots=True)
class Step:
    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass(slots=True)
class Drill:
    """One rehearsal. `figures` collects what was measured."""

    settings: Settings
    fault: str | None
    audio_only: bool
    seconds: float
    tell: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    interview: str = ""
    broken: Fault = field(init=False)
    fingerprint: str = ""
    package: Path | None = None

    # Steps

    async def run(self) -> bool:
        async with fault_named(self.fault, self.settings, self.seconds, self.figures) as self.broken:
            cameras = [self.broken.camera(camera) for camera in self.settings.room_profile().cameras]
            others = [*authority_programs(self.settings), *cameras]
            return await self._run(House(self.settings, self.settings.data / "drill.log", others))

    async def _run(self, house: House) -> bool:
        operator, staff, prosecutor = (house.visitor() for _ in range(3))
        async with operator, staff, prosecutor, house:
            for name, work in (
                ("cameras up", lambda: self._cameras_up(house, operator, staff, prosecutor)),
                ("interview started", lambda: self._start(house, operator)),
                ("live view", lambda: self._live(staff)),
                ("recorded", lambda: self.broken.strike(house)),
                ("stopped and sealed", lambda: self._stop(operator)),
                ("audited", self._audit),
                ("copy made", lambda: self._copy(prosecutor)),
                ("copy unpacked", self._unpack),
                ("checked by vidne verify", self._verify),
                ("checked by verify.sh", self._script),
                ("flipped byte found", self._flip),
            ):
                if not await self._step(name, work):
                    return False
        return True

    async def _step(self, name: str, work: Callable[[], Awaitable[str]]) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(STEP_WITHIN + self.seconds):
                detail, ok = await work(), True
        except TimeoutError:
            detail, ok = "took too long", False
        except (DrillFailed, VidneError, httpx.HTTPError, OSError, ValueError) as error:
            detail, ok = f"{type(error).__name__}: {error}", False
        step = Step(name, ok, round(time.monotonic() - began, 3), detail)
        self.steps.append(step)
        self.tell(step)
        return ok

    async def _cameras_up(self, house: House, *visitors: Visitor) -> str:
        await house.answers()
        for visitor, name in zip(visitors, ("operator", "barnehus", "anklager"), strict=True):
            await house.admit(visitor, name)
        cameras = await house.cameras_send()
        await asyncio.sleep(1.0)  # a key frame of each, so that the start has its pre-roll
        await self.broken.prepare(house, lambda: self._rehearse(house, visitors[0]))
        return f"{len(cameras)} cameras are sending"

    async def _rehearse(self, house: House, operator: Visitor) -> None:
        page = await operator.submit("/afhoering", "/afhoering", case_number=CASE_NUMBER, child_ordinal="2")
        await operator.submit(f"{page}/start", page)
        await asyncio.sleep(1.0)
        await operator.submit(f"{page}/stop", page)
        while (await house.room()).get("undelivered") != 0:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)

    async def _start(self, house: House, operator: Visitor) -> str:
        page = await operator.submit("/afhoering", "/afhoering", case_number=CASE_NUMBER, child_ordinal="1")
        self.interview = page.rsplit("/", 1)[1]
        began = time.monotonic()
        await operator.submit(f"{page}/start", page)
        while True:
            described = await house.room()
            if described.get("durable_tick") is not None:
                break
            await asyncio.sleep(0.02)
        self.figures["start_to_durable_s"] = round(time.monotonic() - began, 3)
        return f"take {described['take']}, first tick durable after {self.figures['start_to_durable_s']} s"

    async def _live(self, staff: Visitor) -> str:
        profile = self.settings.room_profile()
        camera = profile.cameras[0]
        seen = await watch(staff, profile.room, camera.id, 2.0, video=camera.video)
        if camera.video and seen.pictures < 30:
            raise DrillFailed(f"only {seen.pictures} pictures in 2 s")
        if seen.sounds < 50:
            raise DrillFailed(f"only {seen.sounds} packets of sound in 2 s")
        self.figures["live_first_s"] = round(seen.first, 3)
        if seen.age is not None:
            self.figures["live_age_median_s"] = round(seen.age, 3)
        age = "" if seen.age is None else f", median age {1000 * seen.age:.0f} ms decoded"
        return f"first after {seen.first:.2f} s, {seen.pictures} pictures, {seen.sounds} sounds{age}"

    async def _stop(self, operator: Visitor) -> str:
        page = f"/afhoering/{self.interview}"
        began = time.monotonic()
        await operator.submit(f"{page}/stop", page)
        stopped = time.monotonic() - began
        store = self._store()
        while True:
            with store.book.reading() as session:
                row = session.get_one(InterviewRow, self.interview)
                if row.manifest_object is not None:
                    manifest = parse(store.book.vault.get(row.manifest_object, row.manifest_sha256))
                    break
            await asyncio.sleep(0.02)
        self.figures["stop_to_sealed_s"] = round(time.monotonic() - began, 3)
        detail = f"answered after {stopped:.2f} s, sealed after {self.figures['stop_to_sealed_s']} s, "
        takes, gaps = len(manifest["takes"]), manifest["gaps"]
        self.figures["gaps"] = len(gaps)
        return (
            f"{detail}{takes} takes, {len(gaps)} gaps declared{self.broken.account(store, self.interview, takes, gaps)}"
        )

    def _store(self) -> Store:
        return open_store(self.settings)

    async def _audit(self) -> str:
        store = self._store()
        report = await asyncio.to_thread(Audit(store.book, store.authority).run)
        self.fingerprint = store.authority.fingerprint
        bad = [f"{each.name}: {each.detail}" for each in report.findings if not each.ok]
        if bad:
            raise DrillFailed("; ".join(bad))
        return f"{len(report.findings)} findings, all well; {report.findings[0].detail}"

    async def _copy(self, prosecutor: Visitor) -> str:
        began = time.monotonic()
        _, key = demo_key(self.settings.data)
        form = f"/sager/{self.interview}/kopi"
        page = await prosecutor.submit(form, form, purpose="Øvelse af beviskopi", recipient=key)
        copy, store = page.rsplit("/", 1)[1], self._store()
        target = self.settings.data / "copy.tar.age"
        while (size := await prosecutor.download(f"{page}/hent", target)) is None:
            with store.book.reading() as session:
                failure = session.scalars(select(CopyRow.failure).where(CopyRow.id == copy)).one()
            if failure is not None:
                raise DrillFailed(f"the copy failed: {failure}")
            await asyncio.sleep(0.1)
        self.figures["copy_s"], self.figures["copy_bytes"] = round(time.monotonic() - began, 3), size
        return f"{size / 1e6:.1f} MB for one age recipient after {self.figures['copy_s']} s"

    async def _unpack(self) -> str:
        folder = self.settings.data / "unpacked"
        folder.mkdir()
        key_file, _ = demo_key(self.settings.data)
        self.package = await asyncio.to_thread(unpack, self.settings.data / "copy.tar.age", key_file, folder)
        if not (self.package / "data" / "viewing" / "visningskopi.mp4").exists():
            raise DrillFailed("the package has no viewing copy")
        return f"{sum(1 for each in self.package.rglob('*') if each.is_file())} files"

    def _folder(self) -> Path:
        if self.package is None:
            raise DrillFailed("there is no package")
        return self.package

    async def _verify(self) -> str:
        began = time.monotonic()
        report = await asyncio.to_thread(verified, self._folder(), self.fingerprint)
        self.figures["verify_s"] = round(time.monotonic() - began, 3)
        if not report.ok:
            raise DrillFailed("; ".join(f"{check.name}: {check.detail}" for check in report.failures))
        time_said = next(check.detail for check in report.checks if check.name == "time")
        return f"{', '.join(check.name for check in report.checks)} ({time_said.partition(':')[0]})"

    async def _script(self) -> str:
        code, said = await asyncio.to_thread(run_script, self._folder(), self.fingerprint)
        if code != 0:
            raise DrillFailed(f"exit {code}: {said[-500:]}")
        wrong, _ = await asyncio.to_thread(run_script, self._folder(), "0" * 64)
        if wrong == 0:
            raise DrillFailed("verify.sh took a wrong fingerprint")
        return f"{sum(line.startswith('OK') for line in said.splitlines())} checks held, a wrong fingerprint did not"

    async def _flip(self) -> str:
        found = await asyncio.to_thread(flip_one_byte, self._folder(), self.fingerprint)
        return f"{found.file}: {found.by_verify[:160]}"


def run_drill(data: Path | None, *, fault: str | None, audio_only: bool, seconds: float, as_json: bool) -> bool:
    """Runs one drill and prints it; True when every step held. A temporary folder is removed again."""
    with tempfile.TemporaryDirectory(prefix="vidne-drill-") as temporary:
        folder = (data or Path(temporary)).absolute()
        if (folder / "store").exists():
            typer.echo(f"{folder} holds a store already: a drill takes an empty folder.", err=True)
            return False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = with_demo_authority(loopback_settings(folder, "audio_only" if audio_only else "demo"))

        def tell(step: Step) -> None:
            line = f"{'OK  ' if step.ok else 'FAIL'} {step.seconds:6.2f} s  {step.name}: {step.detail}"
            typer.echo(line, err=as_json)

        make_clips(settings, Console(stderr=True))
        drill = Drill(settings, fault, audio_only, seconds, tell)
        began = time.monotonic()
        ok = asyncio.run(drill.run())
        drill.figures["seconds"] = round(time.monotonic() - began, 3)
        if not ok:
            _show_log(folder / "drill.log")
    if as_json:
        steps = [
            {"detail": step.detail, "name": step.name, "ok": step.ok, "seconds": step.seconds} for step in drill.steps
        ]
        typer.echo(json.dumps({"figures": drill.figures, "ok": ok, "steps": steps}, ensure_ascii=False))
    else:
        typer.echo(f"{'The drill held' if ok else 'The drill FAILED'}, {drill.figures['seconds']} s.")
    return ok


def _show_log(path: Path) -> None:
    """The processes' last words, for whoever looks into a failed drill."""
    if path.exists():
        for line in path.read_text(errors="replace").splitlines()[-40:]:
            typer.echo(f"  {line}", err=True)
