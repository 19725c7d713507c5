"""GStreamer's webrtcbin as a WHIP camera and a WHEP viewer. Run by Debian's own interpreter, which has its bindings:

    /usr/bin/python3 gstreamer.py publish URL [h264|vp8]     a test picture and a tone, until standard input ends
    /usr/bin/python3 gstreamer.py view URL FRAME             decodes, until standard input ends

The bearer token is the environment's TOKEN; VIEWER, where there is one, is sent as Vidne-Viewer. On standard output one
JSON object a line: `offer`, `answer`, `refused`, `state`, and of a viewer `frame` (count, mean and spread of its luma)
and `sound` (buffers). FRAME keeps the latest picture as one gray plane, its size in the `frame` line. With TRICKLE=1
the offer goes out before any candidate is known, and a PATCH brings them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

ENCODED = {
    "h264": "x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast bitrate=600 key-int-max=25 ! "
    "video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency ! "
    "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96",
    "vp8": "vp8enc deadline=1 target-bitrate=600000 keyframe-max-dist=25 ! rtpvp8pay picture-id-mode=15-bit ! "
    "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96",
}
PUBLISH = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 ! {encoded} ! peer. "
    "audiotestsrc is-live=true freq=440 ! opusenc ! rtpopuspay ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97 ! peer."
)
WANTED = {
    "video": "application/x-rtp,media=video,clock-rate=90000,payload={pt},encoding-name={name}",
    "audio": "application/x-rtp,media=audio,clock-rate=48000,payload=111,encoding-name=OPUS,encoding-params=(string)2",
}
DECODED = {
    "H264": "rtph264depay ! h264parse ! openh264dec",
    "VP8": "rtpvp8depay ! vp8dec",
    "OPUS": "rtpopusdepay ! opusdec",
}
SHOWN = {
    "video": "videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false",
    "audio": "audioconvert ! audio/x-raw,format=S16LE,channels=1 ! appsink name=out sync=false",
}


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Peer:
    """One webrtcbin and its signalling."""

    def __init__(self, url: str, pipeline: Gst.Pipeline, bin_: Gst.Element) -> None:
        self.url, self.pipeline, self.bin = url, pipeline, bin_
        self.trickle = os.environ.get("TRICKLE") == "1"
        self.session: str | None = None
        self.etag = ""
        self.early: list[str] = []
        self.offered = False
        # libnice leaves loopback out unless it is told to take it.
        self.agent = bin_.get_property("ice-agent")
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        bin_.connect("notify::connection-state", self.changed)
        bin_.connect("notify::ice-gathering-state", self.gathered)
        bin_.connect("on-ice-candidate", self.candidate)
        bin_.connect("on-negotiation-needed", self.negotiate)

    def negotiate(self, _bin: Gst.Element) -> None:
        if self.offered:
            return
        self.offered = True
        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(self.made))

    def made(self, promise: Gst.Promise) -> None:
        reply = promise.get_reply()  # owns the offer
        offer = reply.get_value("offer")
        self.bin.emit("set-local-description", offer, None)
        if self.trickle:
            GLib.idle_add(self.post, offer.sdp.as_text())

    def gathered(self, bin_: Gst.Element, _spec: object) -> None:
        if bin_.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            return
        if self.trickle:
            GLib.idle_add(self.patch)
        else:
            GLib.idle_add(self.post, bin_.get_property("local-description").sdp.as_text())

    def candidate(self, _bin: Gst.Element, _section: int, candidate: str) -> None:
        self.early.append(candidate)

    def changed(self, bin_: Gst.Element, _spec: object) -> None:
        say(kind="state", state=bin_.get_property("connection-state").value_nick)

    def ask(
        self, method: str, url: str, content_type: str | None, body: str | None, **more: str
    ) -> tuple[int, dict[str, str], str]:
        headers = {"Authorization": f"Bearer {os.environ['TOKEN']}", **more}
        if content_type:
            headers["Content-Type"] = content_type
        if viewer := os.environ.get("VIEWER"):
            headers["Vidne-Viewer"] = viewer
        data = None if body is None else body.encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - http, loopback
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - http, loopback
                return reply.status, dict(reply.headers.items()), reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers.items()), error.read().decode()

    def post(self, offer: str) -> bool:
        say(kind="offer", sdp=offer)
        status, headers, body = self.ask("POST", self.url, "application/sdp", offer)
        if status != 201:
            say(kind="refused", status=status, body=body)
            return False
        headers = {name.lower(): value for name, value in headers.items()}
        self.session, self.etag = headers["location"], headers.get("etag", "")
        say(kind="answer", sdp=body, session=self.session)
        _, message = GstSdp.SDPMessage.new_from_text(body)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.bin.emit("set-remote-description", answer, None)
        return False

    def patch(self) -> bool:
        if self.session is None:
            return True  # asked again by GLib until the answer has come
        local = self.bin.get_property("local-description").sdp.as_text().splitlines()
        credentials = [line for line in local if line.startswith(("a=ice-ufrag:", "a=ice-pwd:"))][:2]
        media = next(line for line in local if line.startswith("m="))
        mid = next(line for line in local if line.startswith("a=mid:"))
        lines = [*credentials, media, mid, *(f"a={candidate}" for candidate in self.early), "a=end-of-candidates", ""]
        body = "\r\n".join(lines)
        status, _, _ = self.ask(
            "PATCH", self.session, "application/trickle-ice-sdpfrag", body, **{"If-Match": self.etag}
        )
        say(kind="patched", status=status, candidates=len(self.early))
        return False

    def end(self) -> None:
        if self.session is not None:
            status, _, _ = self.ask("DELETE", self.session, None, None)
            say(kind="deleted", status=status)
        self.pipeline.set_state(Gst.State.NULL)


def publish(url: str, codec: str) -> Peer:
    pipeline = Gst.parse_launch(PUBLISH.format(encoded=ENCODED[codec]))
    bin_ = pipeline.get_by_name("peer")
    for at in range(2):
        bin_.emit("get-transceiver", at).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
    return Peer(url, pipeline, bin_)


class Shown:
    """What a viewer decodes."""

    def __init__(self, pipeline: Gst.Pipeline, kept: Path) -> None:
        self.pipeline, self.kept = pipeline, kept
        self.pictures = self.sounds = 0

    def pad(self, _bin: Gst.Element, pad: Gst.Pad) -> None:
        stream = pad.get_current_caps().get_structure(0)
        media = stream.get_string("media")
        decoding = DECODED[stream.get_string("encoding-name")]
        branch = Gst.parse_bin_from_description(f"queue ! {decoding} ! {SHOWN[media]}", True)
        sink = branch.get_by_name("out")
        sink.set_property("emit-signals", True)
        sink.connect("new-sample", self.picture if media == "video" else self.sound)
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def picture(self, sink: Gst.Element) -> Gst.FlowReturn:
        sample = sink.emit("pull-sample")
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        stride = len(data) // height
        plane = b"".join(data[row * stride : row * stride + width] for row in range(height))
        self.pictures += 1
        partial = self.kept.with_suffix(".part")
        partial.write_bytes(plane)
        partial.rename(self.kept)
        few = plane[:: max(1, len(plane) // 997)]
        mean = sum(few) / len(few)
        spread = (sum((each - mean) ** 2 for each in few) / len(few)) ** 0.5
        say(kind="frame", count=self.pictures, mean=mean, spread=spread, width=width, height=height)
        return Gst.FlowReturn.OK

    def sound(self, sink: Gst.Element) -> Gst.FlowReturn:
        buffer = sink.emit("pull-sample").get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        loudest = max(
            (abs(int.from_bytes(data[at : at + 2], "little", signed=True)) for at in range(0, len(data), 2)), default=0
        )
        self.sounds += 1
        if self.sounds % 10 == 0:
            say(kind="sound", count=self.sounds, loudest=loudest)
        return Gst.FlowReturn.OK


def view(url: str, kept: Path, codec: str) -> Peer:
    pipeline = Gst.Pipeline.new("viewer")
    bin_ = Gst.ElementFactory.make("webrtcbin", "peer")
    bin_.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    pipeline.add(bin_)
    shown = Shown(pipeline, kept)
    bin_.connect("pad-added", shown.pad)
    peer = Peer(url, pipeline, bin_)
    for media in ("video", "audio"):
        caps = Gst.Caps.from_string(WANTED[media].format(pt=96, name=codec.upper()))
        bin_.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, caps)
    return peer


def main() -> None:
    Gst.init(None)
    task, url, *rest = sys.argv[1:]
    if task == "publish":
        peer = publish(url, rest[0] if rest else "h264")
    else:
        peer = view(url, Path(rest[0]), rest[1] if len(rest) > 1 else "h264")
    loop = GLib.MainLoop()
    bus = peer.pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message::error", lambda _bus, message: say(kind="error", said=message.parse_error()[0].message))
    threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(loop.quit)), daemon=True).start()
    peer.pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    peer.end()


if __name__ == "__main__":
    main()
