"""From the camera to the eye: how old is what a person in the monitor room sees?

The simulated cameras (1080p30, 4 Mbit/s) are paced to UTC, and each picture says its own instant
(`hardware/picture_clock.py`). A real Chromium watches the real monitor room page; there each picture is read off a
canvas as it goes to the screen. Its age is the moment at which the browser expects it to be visible
(`expectedDisplayTime` of requestVideoFrameCallback) less the moment at which its bytes were handed to the camera's
FFmpeg. That is one frame before its instant, since FFmpeg holds a picture until it hears of the next
(`clip_stream.ONE_FRAME`): counted against us. A lens, a sensor and an encoder would come on top; a screen's own delay
too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from hardware.clip_stream import ONE_FRAME
from hardware.picture_clock import CELLS, STRIP, age, read_picture_clock
from hardware.simulated_room import RATE, Recipe, make_clip
from tests.bench.figures import Figure, number, percentile
from tests.browser.house import CAMERA_FLAGS, RealHouse, real_house
from tests.browser.serving import chromium

WHAT = "from the camera to the eye: a picture clock, 1080p30, to Chromium's screen on the monitor room page"
RUNS, SECONDS = 3, 20.0
GOAL_MS = 150.0

LOOP_SECONDS = 10
HANDED_OVER_EARLY = float(ONE_FRAME)
SETTLE_SECONDS = 5.0
SHARES = {"least": 0.0, "median": 0.5, "p95": 0.95, "p99": 0.99, "greatest": 1.0}
_WIDTH = 4 * CELLS

_BEGIN = """
([width, strip]) => {
  const videos = [...document.querySelectorAll("video")];
  window.seen = videos.map(() => []);
  window.skipped = videos.map(() => 0);
  videos.forEach((video, at) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, 1];
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    let before = null;
    const next = (now, picture) => {
      if (before !== null) window.skipped[at] += picture.presentedFrames - before - 1;
      before = picture.presentedFrames;
      const height = video.videoHeight / strip;
      drawing.drawImage(video, 0, height / 4, video.videoWidth, height / 2, 0, 0, width, 1);
      const row = drawing.getImageData(0, 0, width, 1).data;
      // The page's clock was set by UTC when it was opened, and runs by itself since: asked for anew each time.
      const epoch = Date.now() - performance.now();
      const luma = Array.from({ length: width }, (_, x) => row[4 * x + 1]);
      window.seen[at].push([epoch, picture.expectedDisplayTime, luma]);
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  });
}
"""
"""Keeps of each picture shown: UTC of the page's time 0, when it will be visible (both ms), a row of its luma."""

Shown = tuple[float, float, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one camera's pictures looked like: their ages in ms, pictures that no clock could be read off, and how many
    the browser presented without telling (its main thread was busy)."""

    ages_ms: tuple[float, ...]
    unreadable: int
    skipped: int


def read(shown: Sequence[Shown], skipped: int) -> Seen:
    """Ages of what was shown. Pure."""
    # Date.now() counts whole milliseconds: the greatest offset is the truest, at most 1 ms too little.
    epoch = max((row[0] for row in shown), default=0.0)
    ages, unreadable = [], 0
    for _, visible, luma in shown:
        index = read_picture_clock(bytes(luma), _WIDTH, 1)
        if index is None:
            unreadable += 1
        else:
            seen_at = (epoch + visible) / 1000 + HANDED_OVER_EARLY
            ages.append(1000 * age(index, seen_at, rate=RATE, seconds=LOOP_SECONDS))
    return Seen(tuple(ages), unreadable, skipped)


def watch(house: RealHouse, seconds: float) -> list[Seen]:
    """A person opens the monitor room and looks, for so long after the pictures have settled."""
    page = house.person("barnehus")
    try:
        page.goto(f"{house.url}/monitorrum")
        live(page)
        page.wait_for_timeout(1000 * SETTLE_SECONDS)
        page.evaluate(_BEGIN, [_WIDTH, STRIP])
        page.wait_for_timeout(1000 * seconds)
        shown: list[list[Any]] = page.evaluate("window.seen")
        skipped: list[int] = page.evaluate("window.skipped")
        return [read([tuple(row) for row in each], lost) for each, lost in zip(shown, skipped, strict=True)]
    finally:
        page.context.close()


def live(page: Page) -> None:
    expect(page.locator("[data-state-text]")).to_have_text(["Direkte", "Direkte"], timeout=20_000)


def measure(runs: int, seconds: float) -> Figure:
    """p95 in ms over both cameras and all runs, each a page opened anew. Raises RuntimeError where nothing was seen."""
    seen: list[Seen] = []
    for scene in ("wide", "close"):
        make_clip(Recipe(scene))
    with (
        tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder,
        chromium(*CAMERA_FLAGS) as browser,
        real_house(Path(folder), browser, simulated=True) as house,
    ):
        house.cameras_send()
        for _ in range(runs):
            seen += watch(house, seconds)
    ages = [each for camera in seen for each in camera.ages_ms]
    if not ages:
        raise RuntimeError("no picture clock was read on the screen")
    spread = ", ".join(f"{name} {percentile(ages, share):.0f} ms" for name, share in SHARES.items())
    notes = (
        f"{len(ages)} pictures of 2 cameras in {runs} × {number(seconds)} s: {spread}",
        "p95 of each camera and run: " + ", ".join(f"{percentile(each.ages_ms, 0.95):.0f}" for each in seen) + " ms; "
        f"{sum(each.unreadable for each in seen)} pictures unreadable, "
        f"{sum(each.skipped for each in seen)} presented without being told",
        f"pictures shown in a second: {len(ages) / len(seen) / seconds:.1f} of {RATE}",
    )
    shortened = runs < RUNS or seconds < SECONDS
    return Figure("eye", "ms", percentile(ages, 0.95), None, "lower", GOAL_MS, runs, shortened=shortened, notes=notes)
