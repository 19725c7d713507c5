"""Short real clips, made by FFmpeg once a test run, and what FFmpeg says of a file that we wrote."""

from __future__ import annotations

import io
import socket
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import av
import imageio_ffmpeg

from recorder.boxes import AUDIO_TIMESCALE, VIDEO_TIMESCALE
from recorder.clock import SECOND_NS
from recorder.fragments import Codec, Event, Fragment
from recorder.track import Track

from .payloads import Packet, give, split_annex_b

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SEI_PATTERN = "086f3693-b7b3-4f2c-9653-21492feee5b8+vidne-test-pattern"


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures as (time in 1/90000 s, NAL units) in the order sent, and sound as (time in 1/48000 s, packet)."""

    path: Path
    pictures: list[tuple[int, list[bytes]]]
    sound: list[tuple[int, bytes]]


def ffmpeg(*arguments: str) -> bytes:
    """Run it; it must end well and have nothing to say. What it writes to standard output."""
    done = subprocess.run([FFMPEG, "-nostdin", "-v", "error", *arguments], capture_output=True, check=False, timeout=60)
    assert not done.stderr, done.stderr.decode()
    assert done.returncode == 0
    return done.stdout


def make_clip(path: Path, *, seconds: float = 3, size: str = "640x360", x264: str = "bframes=0") -> Clip:
    """A key frame each second, a SEI with a pattern on each, and a tone."""
    ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=s={size}:r=30:d={seconds}",
        "-f", "lavfi", "-i", f"sine=440:r=48000:d={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "600k", "-threads", "1", "-x264-params",
        f"{x264}:keyint=30:min-keyint=30:scenecut=0", "-bsf:v", f"h264_metadata=aud=insert:sei_user_data={SEI_PATTERN}",
        "-c:a", "libopus", "-b:a", "48k", "-y", str(path),
    )  # fmt: skip
    return read(path)


def read(path: Path) -> Clip:
    pictures: list[tuple[int, bytes]] = []
    sound: list[tuple[int, bytes]] = []
    for kind, time, data in packets(path.read_bytes()):
        if kind == "video":
            pictures.append((time, data))
        else:
            sound.append((time, data))
    annex_b = split_annex_b(
        ffmpeg("-i", str(path), "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-")
    )
    # The filter puts the container's parameter sets before key frames: its NAL units are what a camera sends.
    units: list[list[bytes]] = []
    for nal in annex_b:
        if nal[0] & 0x1F == 9:
            units.append([])
        units[-1].append(nal)
    return Clip(path, [(time, nals) for (time, _), nals in zip(pictures, units, strict=True)], sound)


def packets(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(kind, presentation time in 1/90000 or 1/48000 s, bytes) of each packet of a file, in its order."""
    with av.open(io.BytesIO(data), "r") as container:
        for packet in container.demux():
            if packet.size:
                kind = packet.stream.type
                scale = VIDEO_TIMESCALE if kind == "video" else AUDIO_TIMESCALE
                assert packet.pts is not None
                assert packet.time_base is not None
                yield kind, round(packet.pts * packet.time_base * scale), bytes(packet)


def decode(path: Path, data: bytes) -> int:
    """Decode it with the plain binary, which must find nothing to complain of; give the number of frames."""
    path.write_bytes(data)
    said = ffmpeg(
        "-xerror", "-err_detect", "explode", "-i", str(path), "-fps_mode", "passthrough", "-f", "framecrc", "-"
    )
    return sum(not line.startswith(b"#") for line in said.splitlines())


def files(fragments: Iterable[Fragment]) -> list[bytes]:
    """A file for each epoch: its initialisation and every fragment."""
    whole: dict[int, bytes] = {}
    for each in fragments:
        assert (each.init is not None) == (each.epoch not in whole)
        whole[each.epoch] = whole.get(each.epoch, each.init or b"") + each.data
    return list(whole.values())


def sound_packets(sound: Iterable[tuple[int, bytes]], first: int = 0, offset: int = 0) -> list[Packet]:
    return [
        Packet((first + index) & 0xFFFF, (time + offset) & 0xFFFFFFFF, not index, data)
        for index, (time, data) in enumerate(sound)
    ]


def paced(sent: Iterable[Packet], codec: Codec, begin_ns: int) -> list[tuple[int, Packet]]:
    """When each packet arrives if each picture is sent at its time, the first at `begin_ns`."""
    first: int | None = None
    timed = []
    for packet in sent:
        first = packet.timestamp if first is None else first
        ticks = ((packet.timestamp - first + 2**31) & 0xFFFFFFFF) - 2**31
        timed.append((begin_ns + ticks * SECOND_NS // codec.timescale, packet))
    return timed


def run(
    tracks: Mapping[str, Track], arrivals: Iterable[tuple[int, str, Packet]], cut_ns: int = SECOND_NS // 4
) -> tuple[dict[str, list[Fragment]], list[Event]]:
    """Play arrivals (ns, track, packet) into tracks with a running take, cut each 250 ms, and end."""
    fragments: dict[str, list[Fragment]] = {name: [] for name in tracks}
    events: list[Event] = []

    def cut(now_ns: int) -> None:
        for name, track in tracks.items():
            done = track.cut(now_ns)
            fragments[name] += done.fragments
            events.extend(done.events)

    now_ns, due_ns = 0, None
    for now_ns, name, packet in arrivals:
        due_ns = now_ns + cut_ns if due_ns is None else due_ns
        while now_ns >= due_ns:
            cut(due_ns)
            due_ns += cut_ns
        give(tracks[name], packet, packet.payload, now_ns)
    for track in tracks.values():
        track.end(now_ns + 1)
    cut(now_ns + 1)
    return fragments, events


def sent_by_ffmpeg(path: Path) -> tuple[list[Packet], list[Packet], list[tuple[int, int]]]:
    """Picture and sound as FFmpeg's own RTP muxer sends them, and its sender reports of the picture (NTP, RTP)."""
    picture, reports = _heard(path, "0:v", "h264_mp4toannexb")
    sound, _ = _heard(path, "0:a", "null")
    pairs = [struct.unpack_from(">8xQI", data) for data in reports if data[1] == 200]
    return picture, sound, [(ntp, rtp) for ntp, rtp in pairs]


def heard_by_sockets(path: Path, before_sending: str) -> list[Packet]:
    """The file's only stream as FFmpeg's own RTP muxer sends it, after this bitstream filter."""
    return _heard(path, "0", before_sending)[0]


def _heard(path: Path, stream: str, before_sending: str) -> tuple[list[Packet], list[bytes]]:
    """RTP packets, and RTCP's bytes."""
    heard: list[list[bytes]] = [[], []]
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in heard]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            each.settimeout(0.2)
        ports = [each.getsockname()[1] for each in sockets]
        stop = threading.Event()

        def listen(index: int) -> None:
            while True:
                try:
                    heard[index].append(sockets[index].recv(4096))
                except TimeoutError:
                    if stop.is_set():
                        return

        threads = [threading.Thread(target=listen, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        try:
            # Left to itself FFmpeg takes a port and, taken or not, the one after it.
            with ExitStack() as own:
                free = [own.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in ports]
                for each in free:
                    each.bind(("127.0.0.1", 0))
                local = "&localrtpport={}&localrtcpport={}".format(*(each.getsockname()[1] for each in free))
            to = f"rtp://127.0.0.1:{ports[0]}?rtcpport={ports[1]}&pkt_size=1200{local}"
            ffmpeg(
                "-i", str(path), "-map", stream, "-c", "copy", "-bsf", before_sending, "-strict", "experimental",
                "-f", "rtp", "-sdp_file", "/dev/null", to,
            )  # fmt: skip
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return [_parse(data) for data in heard[0]], heard[1]


def _parse(data: bytes) -> Packet:
    first, second, sequence, timestamp = struct.unpack_from(">BBHI", data)
    assert first == 0x80, "no padding, extension or contributing source"
    return Packet(sequence, timestamp, bool(second & 0x80), data[12:])
