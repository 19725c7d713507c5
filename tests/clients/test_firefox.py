"""Firefox ESR (Debian's) as a camera and as a viewer, on the house's own pages.

It has no H.264 without a download that a closed network lacks: with a camera of that kind it must say what to do.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.drill.house import House, loopback_settings
from api.processes.house import camera_program
from api.settings import Secrets
from api.wiring import DEMO_ACCOUNTS
from tests.clients.firefox import Firefox, firefox
from tests.clients.network import own_network

SHOWN = """
(async () => {
  const videos = [...document.querySelectorAll('video')];
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [8, 8];
  const drawing = canvas.getContext('2d');
  const found = [];
  for (const video of videos) {
    let seen = 0;
    const next = () => { seen += 1; video.requestVideoFrameCallback(next); };
    video.requestVideoFrameCallback(next);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    drawing.drawImage(video, 0, 0, 8, 8);
    const pixels = drawing.getImageData(0, 0, 8, 8).data.filter((_, at) => at % 4 !== 3);
    found.push({ seen, width: video.videoWidth, mean: pixels.reduce((a, b) => a + b, 0) / pixels.length });
  }
  return found;
})()
"""
"""Of each video: the pictures really shown in two seconds, their width and mean brightness."""


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own, which takes root")


@pytest.fixture
def address() -> Iterator[str]:
    with own_network() as given:
        yield given


@pytest.fixture
async def house(tmp_path: Path, address: str) -> AsyncIterator[House]:
    """Its `close` camera is the simulated one, in H.264; nobody sends `wide` yet."""
    settings = loopback_settings(tmp_path / "data", "demo", ice_addresses=(address,))
    close = next(each for each in settings.room_profile().cameras if each.id == "close")
    async with House(settings, tmp_path / "house.log", [camera_program(settings, close)]) as opened:
        await asyncio.wait_for(opened.answers(), 30)
        yield opened


def said_of(camera: str, folder: Path) -> list[dict[str, str]]:
    """What the house's log has about a camera's connections."""
    lines = [json.loads(line) for line in (folder / "house.log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("camera") == camera and "connection" in line]


async def sign_in(browser: Firefox, house: House, username: str) -> int:
    account = next(each for each in DEMO_ACCOUNTS if each.username == username)
    page = await browser.open(f"{house.settings.api_url}/log-ind")
    await browser.evaluate(
        page,
        f"document.getElementById('username').value = '{account.username}',"
        f"document.getElementById('password').value = '{account.password}',"
        "setTimeout(() => document.querySelector('form').requestSubmit(), 0)",
    )
    await browser.until(page, "document.querySelector('.masthead__person')")
    return page


async def test_publishes_and_views_and_says_what_to_do_about_h264(house: House, tmp_path: Path) -> None:
    token = Secrets(house.settings.run_folder).token("camera-wide")
    async with firefox(tmp_path) as browser:
        camera = await browser.open(f"{house.settings.recorder_url}/camera/wide#token={token}")
        await browser.evaluate(camera, "document.querySelector('[data-toggle]').click()")
        await browser.until(camera, "document.querySelector('[data-state-text]').textContent === 'Sender'")
        await asyncio.wait_for(house.cameras_send(), 20)

        viewer = await sign_in(browser, house, "barnehus")
        await browser.evaluate(viewer, f"void (location.href = '{house.settings.api_url}/monitorrum')")
        states = "[...document.querySelectorAll('[data-live] [data-state-text]')].map((each) => each.textContent)"
        await browser.until(viewer, f"{states}.join() === 'Direkte,Kan ikke vises'")
        wide, close = await browser.evaluate(viewer, SHOWN)
        await browser.screenshot(viewer, tmp_path / "monitorrum.png")
        assert said_of("wide", tmp_path)[0]["event"] == "camera-connected"
        assert wide["seen"] >= 10, "pictures are decoded and shown, one after another"
        assert wide["width"] >= 320
        assert wide["mean"] > 10
        assert close["seen"] == 0
        said = await browser.evaluate(viewer, "document.querySelectorAll('[data-cover-text]')[1].textContent")
        assert said == "Browseren kan ikke vise det billedformat, kameraet sender. Brug Chrome eller Edge."
        assert [text for text in browser.complaints if "406" not in text] == []

        await browser.evaluate(camera, "document.querySelector('[data-toggle]').click()")
        await browser.until(viewer, f"{states}[0] !== 'Direkte'")
    (ended,) = [line for line in said_of("wide", tmp_path) if line["event"] == "camera-disconnected"]
    assert ended["reason"] == "ended-by-camera"
    described = {each["id"]: each for each in (await house.room())["cameras"]}
    assert not described["wide"]["connected"]
    assert described["close"]["connected"]
