"""A real browser as a camera, in each codec that it can send: what it sends is recorded, decodes, and plays again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from evidence_store import webm
from evidence_store.whole_pictures import whole_pictures
from recorder.box_reader import parse_fragment
from recorder.clock import SenderClock
from recorder.fragments import Fragment
from recorder.track import Track
from tests.browser.house import CAMERA_FLAGS
from tests.browser.recorder_rig import TOKEN, Recording, recording
from tests.browser.serving import CHROMIUM, chromium
from tests.recorder_media.bad_line import parse_media, track_of, unshown_of, with_losses
from tests.recorder_media.clips import decode, files, paced, run
from tests.recorder_media.streams import make_stream

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


OFFER_TO_WATCH = """
async () => {
  const viewer = window.viewer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  for (const kind of ["video", "audio"]) viewer.addTransceiver(kind, { direction: "recvonly" });
  await viewer.setLocalDescription();
  await new Promise((done) => {
    if (viewer.iceGatheringState === "complete") done();
    viewer.onicegatheringstatechange = () => viewer.iceGatheringState === "complete" && done();
  });
  return viewer.localDescription.sdp;
}
"""
WATCH = """(sdp) => window.viewer.setRemoteDescription({ type: "answer", sdp })"""
WATCHED = """
async () => {
  const reports = [...(await window.viewer.getStats()).values()];
  const { framesDecoded, codecId } = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
  return [framesDecoded, reports.find(({ id }) => id === codecId).mimeType];
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
def test_a_browser_is_recorded_and_watched_in_each_codec(
    browser: Browser, codec: str, entry: str, tmp_path: Path
) -> None:
    with recording(tmp_path) as made:
        page = _publish(browser, made, codec, 640, 360)
        page.wait_for_timeout(1000)
        page.evaluate(WATCH, made.do(made.watch(page.evaluate(OFFER_TO_WATCH))))
        page.wait_for_timeout(3000)
        shown, watched_as = page.evaluate(WATCHED)
        sent = page.evaluate(SENT)
        made.end()
        page.close()
    assert watched_as == f"video/{codec}"
    assert shown > 30
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
    packets = [sample.data for each in sounds for sample in parse_fragment(each.data).samples]
    assert all(packet[0] & 4 for packet in packets), "stereo, as asked for (RFC 6716, 3.1)"


OUR_PAGES = """
async ([token]) => {
  const { WhipPublisher } = await import("/static/js/whip.js");
  const video = { width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 30 } };
  const stream = await navigator.mediaDevices.getUserMedia({ video, audio: true });
  new WhipPublisher({ endpoint: "/whip/wide", token, stream, onState() {} }).start();
}
"""


def test_our_camera_page_sends_full_size_from_its_first_picture(browser: Browser, tmp_path: Path) -> None:
    with recording(tmp_path) as made:
        page = browser.new_page()
        page.goto(made.url)
        page.evaluate(OUR_PAGES, [TOKEN])
        page.wait_for_timeout(5000)
        made.end()
        page.close()
    pictures = [about for _, about in made.seen if "width" in about]
    assert [(about["width"], about["height"]) for about in pictures] == [(1920, 1080)]
    assert str(pictures[0]["codec"]).startswith("avc1."), "what ranks best of all that a browser offers"


PLAY = """
async ([type, pieces]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  const media = new MediaSource();
  video.src = URL.createObjectURL(media);
  await new Promise((done) => media.addEventListener("sourceopen", done, { once: true }));
  const buffer = media.addSourceBuffer(type);
  for (const piece of pieces) {
    buffer.appendBuffer(bytes(piece));
    await new Promise((done) => buffer.addEventListener("updateend", done, { once: true }));
  }
  const [from, to] = [buffer.buffered.start(0), buffer.buffered.end(buffer.buffered.length - 1)];
  video.currentTime = from;
  media.endOfStream();
  await video.play();
  await new Promise((done) => {
    video.addEventListener("ended", done);
    video.addEventListener("error", done);
  });
  const shown = video.getVideoPlaybackQuality().totalVideoFrames;
  return [buffer.buffered.length, to - from, shown, video.videoWidth, video.videoHeight, video.error?.message ?? ""];
}
"""


def _played(browser: Browser, name: str, fragments: list[Fragment], media: list[bytes]) -> tuple[float, int]:
    """How many seconds of it a browser has, and how many pictures it shows. It plays to its end, in one go."""
    init, kind = fragments[0].init or b"", f'video/mp4; codecs="{fragments[0].codec}"'
    if name == "vp8":
        kind, picture = 'video/webm; codecs="vp8"', webm.read_init(init)
        init = webm.beginning(picture)
        media = [
            b"".join(webm.cluster(frames, lasting=True) for frames in webm.read_media(each, picture.timescale))
            for each in media
        ]
    page = browser.new_page()
    pieces = [base64.b64encode(each).decode() for each in (init, *media) if each]
    ranges, seconds, shown, width, height, error = page.evaluate(PLAY, [kind, pieces])
    page.close()
    assert (error, ranges, width, height) == ("", 1, 320, 180)
    return float(seconds), int(shown)


@pytest.mark.parametrize("name", ["h264_high", "vp8", "vp9", "av1"])
def test_what_is_stored_plays_in_a_browser(browser: Browser, name: str, tmp_path: Path) -> None:
    stream = make_stream(name, tmp_path, 2)
    track = Track("wide", stream.codec)
    track.connect("first", 10**12, SenderClock())
    track.begin(10**12, 10**12)
    fragments = run({"wide": track}, [(at, "wide", each) for at, each in paced(stream.sent, stream.codec, 10**12)])[0]
    seconds, shown = _played(browser, name, fragments["wide"], [each.data for each in fragments["wide"]])
    assert seconds == pytest.approx(2, abs=0.1)
    assert shown > 30


@pytest.mark.parametrize("name", ["h264_baseline", "h264_high", "vp8", "vp9", "av1"])
def test_what_lost_packets_plays_to_its_end_in_a_browser(browser: Browser, name: str, tmp_path: Path) -> None:
    stream = make_stream(name, tmp_path, 4)
    arrivals, _ = with_losses(stream.sent, stream.codec, seed=0)
    fragments, events = run({"wide": track_of(stream.codec)}, arrivals)
    wide = fragments["wide"]
    unshown = unshown_of(wide, events)
    assert unshown.stretches
    media = [bytes(whole_pictures(each.data, unshown)) for each in wide]
    seconds, shown = _played(browser, name, wide, media)
    assert seconds == pytest.approx(4, abs=0.1)
    assert shown >= sum(len(parse_media(each)) for each in media)
