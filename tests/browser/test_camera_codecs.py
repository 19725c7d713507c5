"""A real browser as a camera, in each codec that it can send: what it sends is recorded, and decodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.house import CAMERA_FLAGS
from tests.browser.recorder_rig import TOKEN, Recording, recording
from tests.browser.serving import CHROMIUM, chromium
from tests.recorder_media.clips import decode, files

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")

PUBLISH = """
async ([codec, width, height, token]) => {
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
  const stream = await navigator.mediaDevices.getUserMedia({ video, audio: true });
  const peer = window.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  for (const track of stream.getTracks()) {
    const transceiver = peer.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    if (track.kind !== "video") continue;
    const known = RTCRtpSender.getCapabilities("video").codecs;
    transceiver.setCodecPreferences(known.filter(({ mimeType }) => [`video/${codec}`, "video/rtx"].includes(mimeType)));
  }
  await peer.setLocalDescription();
  await new Promise((done) => {
    if (peer.iceGatheringState === "complete") done();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
  });
  const headers = { "Content-Type": "application/sdp", Authorization: `Bearer ${token}` };
  const response = await fetch("/whip/wide", { method: "POST", headers, body: peer.localDescription.sdp });
  const answer = await response.text();
  if (response.status !== 201) return `${response.status} ${answer}`;
  await peer.setRemoteDescription({ type: "answer", sdp: answer });
  return "";
}
"""
SENT = """
async () => {
  const reports = [...(await window.peer.getStats()).values()];
  const { framesSent, frameWidth, frameHeight, qualityLimitationReason } =
    reports.find(({ type, kind }) => type === "outbound-rtp" && kind === "video");
  return { framesSent, frameWidth, frameHeight, qualityLimitationReason };
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*CAMERA_FLAGS) as running:
        yield running


def _publish(browser: Browser, made: Recording, codec: str, width: int, height: int) -> Page:
    page = browser.new_page()
    page.goto(made.url)
    assert page.evaluate(PUBLISH, [codec, width, height, TOKEN]) == ""
    return page


@pytest.mark.parametrize(
    ("codec", "entry"), [("H264", "avc1."), ("VP8", "vp08."), ("VP9", "vp09.00."), ("AV1", "av01.0.")]
)
def test_a_browser_is_recorded_in_each_codec(browser: Browser, codec: str, entry: str, tmp_path: Path) -> None:
    with recording(tmp_path) as made:
        page = _publish(browser, made, codec, 640, 360)
        page.wait_for_timeout(4000)
        sent = page.evaluate(SENT)
        made.end()
        page.close()
    pictures, sounds = made.fragments["wide-video"], made.fragments["wide-audio"]
    assert {each.codec.startswith(entry) for each in pictures} == {True}
    assert sum(each.incomplete for each in pictures) == 0
    # Nothing is missing but what was before the first key frame.
    reasons = {event["reason"] for event in made.events if event["type"] == "gap"}
    assert reasons <= {"no-connection", "no-key-frame"}
    decoded = sum(decode(tmp_path / f"{at}.mp4", data) for at, data in enumerate(files(pictures)))
    assert decoded == sum(each.samples for each in pictures)
    assert abs(decoded - sent["framesSent"]) <= 5
    assert decoded > 60
    assert decode(tmp_path / "sound.mp4", files(sounds)[0]) > 100
