"""A real browser tells when its pictures were captured, and what it tells agrees with its sender reports."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import async_playwright
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import recorder.peer
from recorder.clock import SECOND_NS, ntp_to_unix_ns
from recorder.peer import Connection
from recorder.sdp import Kind
from recorder.whip import WhipEndpoint
from tests.recorder_webrtc import rig

SCRIPTS = Path(recorder.peer.__file__).parents[1] / "api" / "web" / "static" / "js"
PAGE = f"""<!doctype html><canvas width=320 height=180></canvas><script type="module">
import {{ WhipPublisher }} from "/js/whip.js";
const canvas = document.querySelector("canvas"), paint = canvas.getContext("2d");
let turn = 0;
setInterval(() => {{ paint.fillStyle = `hsl(${{turn++ * 7}} 80% 50%)`; paint.fillRect(0, 0, 320, 180); }}, 33);
const sound = new AudioContext(), tone = sound.createOscillator(), out = sound.createMediaStreamDestination();
tone.connect(out); tone.start();
const stream = new MediaStream([...canvas.captureStream(30).getTracks(), ...out.stream.getTracks()]);
new WhipPublisher({{ endpoint: "/whip/wide", token: "{rig.TOKEN}", stream, onState: () => {{}} }}).start();
</script>"""


class Listening(rig.RememberingSink):
    """Tells apart what came in a packet from what came in a report: the former comes before its own packet."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[Kind, list[tuple[int, int, int]]] = {"video": [], "audio": []}

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None:
        super().sender_report(connection, kind, ntp, rtp, arrival_ns)
        self.told[kind].append((ntp_to_unix_ns(ntp), rtp, arrival_ns))


async def _page(_request: Request) -> Response:
    return HTMLResponse(PAGE)


async def test_chromium_says_when_it_captured() -> None:
    sink, sock = Listening(), rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    routes = [*rig.whip_routes(endpoint), Route("/", _page)]
    mounts = [*routes, Mount("/js", StaticFiles(directory=SCRIPTS))]
    async with rig.serving(mounts, sock), async_playwright() as playwright:  # type: ignore[arg-type]
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-background-networking"],
        )
        page = await browser.new_page()
        await page.goto(url)
        for kind in ("video", "audio"):
            await rig.until(lambda kind=kind: len(sink.told[kind]) > 6, 20)  # type: ignore[misc]
        await browser.close()
        await endpoint.stop()
    for kind, rate in (("video", 90_000), ("audio", 48_000)):
        told = sink.told[kind]  # type: ignore[index]
        stamps = {timestamp for _, timestamp, *_ in sink.packets[kind]}  # type: ignore[index]
        in_packets = [each for each in told if each[1] in stamps]
        assert len(in_packets) > 3, f"{kind}: capture times"
        # All tell of one clock: UTC less RTP time is the same, whichever way it was told.
        first_utc, first_rtp, _ = told[0]
        for utc, rtp, _ in told[1:]:
            ticks = ((rtp - first_rtp + 2**31) & 0xFFFFFFFF) - 2**31
            assert abs(utc - first_utc - ticks * SECOND_NS // rate) < 40_000_000
