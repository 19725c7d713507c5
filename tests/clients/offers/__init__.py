"""Offers of real clients, a file each. `-publish` and `-view` name the direction where a client does both.

FFmpeg 9.0, GStreamer 1.22 (webrtcbin), Chromium and Firefox ESR (Debian): as the client sent it, addresses of the
network left out. `obs`: in the shape that OBS 30's output asks of libdatachannel, read from their sources.
`safari`: in the shape of WebKit's. `rfc9725`: the example of RFC 9725, section 4.2.
"""

from __future__ import annotations

from pathlib import Path


def offer(name: str) -> str:
    """The offer, with the line ends of SDP."""
    return Path(__file__).with_name(f"{name}.sdp").read_text().replace("\n", "\r\n")
