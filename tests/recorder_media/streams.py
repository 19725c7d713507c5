"""A real stream of each codec: what an encoder made, and the packets in which FFmpeg's own RTP muxer sends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recorder.fragments import Codec

from .clips import ffmpeg, heard_by_sockets, packets
from .payloads import Packet, packetise, split_annex_b, split_obus

_X264 = "-c:v libx264 -preset ultrafast -threads 1 -x264-params keyint=30:min-keyint=30:scenecut=0"
_AUD = "h264_metadata=aud=insert"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a stream is made: encoder, container to encode into, what FFmpeg has to do before it sends it as RTP."""

    codec: Codec
    encoder: str
    suffix: str
    before_sending: str = "null"


KINDS = {
    "h264_baseline": Kind(
        Codec.H264, f"{_X264}:bframes=0 -profile:v baseline -bsf:v {_AUD}", "mp4", "h264_mp4toannexb"
    ),
    "h264_main": Kind(
        Codec.H264, f"{_X264}:bframes=2:b-adapt=0:slices=2 -profile:v main -bsf:v {_AUD}", "mp4", "h264_mp4toannexb"
    ),
    "h264_high": Kind(
        Codec.H264,
        f"{_X264}:bframes=3:b-adapt=0:b-pyramid=normal:8x8dct=1:cabac=1 -profile:v high -bsf:v {_AUD}",
        "mp4",
        "h264_mp4toannexb",
    ),
    "h265": Kind(
        Codec.H265,
        "-c:v libx265 -preset ultrafast -x265-params "
        "bframes=0:keyint=30:min-keyint=30:scenecut=0:repeat-headers=1:aud=1:log-level=error:pools=1",
        "mp4",
        "hevc_mp4toannexb",
    ),
    "h265_b_frames": Kind(
        Codec.H265,
        "-c:v libx265 -preset ultrafast -x265-params "
        "bframes=2:b-adapt=0:keyint=30:min-keyint=30:scenecut=0:open-gop=0:repeat-headers=1:aud=1:log-level=error:pools=1",
        "mp4",
        "hevc_mp4toannexb",
    ),
    "vp8": Kind(Codec.VP8, "-c:v libvpx -deadline realtime -cpu-used 8 -g 30", "mkv"),
    "vp9": Kind(Codec.VP9, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30", "mkv"),
    "vp9_hidden_frames": Kind(
        Codec.VP9, "-c:v libvpx-vp9 -deadline good -cpu-used 8 -g 30 -auto-alt-ref 1 -lag-in-frames 12", "mkv"
    ),
    "av1": Kind(Codec.AV1, "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 30", "mkv"),
    "opus": Kind(Codec.OPUS, "-c:a libopus -b:a 48k", "ogg"),
    "opus_mono_dtx": Kind(Codec.OPUS, "-c:a libopus -b:a 16k -ac 1 -application voip -dtx 1", "ogg"),
}


@dataclass(frozen=True, slots=True)
class Stream:
    """`units` are (time in the codec's clock, its pieces) in the order sent: NAL units, OBUs, or one frame or packet.
    `sent` is the same as RTP packets."""

    name: str
    codec: Codec
    units: list[tuple[int, list[bytes]]]
    sent: list[Packet]


def make_stream(name: str, folder: Path, seconds: float = 2.5) -> Stream:
    """Encodes moving pictures, or a tone with pauses, and sends them through FFmpeg's RTP muxer."""
    kind = KINDS[name]
    path = folder / f"{name}.{kind.suffix}"
    picture = ["-f", "lavfi", "-i", f"testsrc2=s=320x180:r=30:d={seconds}", "-b:v", "400k", "-threads", "1"]
    sound = ["-f", "lavfi", "-i", f"aevalsrc='0.3*sin(440*2*PI*t)*lt(mod(t,1.6),0.5)':s=48000:d={2 * seconds}"]
    ffmpeg(*(picture if kind.codec.video else sound), *kind.encoder.split(), "-y", str(path))
    sent, units = heard_by_sockets(path, kind.before_sending), list(_units(kind, path))
    if name.endswith("dtx"):
        sent, units = _without_silence(sent, units)
    return Stream(name, kind.codec, units, sent)


def _without_silence(
    sent: list[Packet], units: list[tuple[int, list[bytes]]]
) -> tuple[list[Packet], list[tuple[int, list[bytes]]]]:
    """As a browser does it: of packets that say nothing, one in 400 ms is sent (RFC 6716, 2.1.9; RFC 7587, 3.1.3)."""
    kept, silent = [], 0
    for number, packet in enumerate(sent):
        silent = silent + 1 if len(packet.payload) <= 2 else 0
        if silent % 20 in (0, 1):
            kept.append(number)
    assert len(kept) < len(sent) * 3 // 4, "there was no silence"
    first = sent[0].sequence
    return [sent[at].numbered(first + number) for number, at in enumerate(kept)], [units[at] for at in kept]


def _units(kind: Kind, path: Path) -> Iterator[tuple[int, list[bytes]]]:
    coded = [(time, data) for _, time, data in packets(path.read_bytes())]
    if kind.codec in (Codec.H264, Codec.H265):
        # The filter puts the container's parameter sets before key frames: its NAL units are what a camera sends.
        form = "h264" if kind.codec is Codec.H264 else "hevc"
        annex_b = ffmpeg("-i", str(path), "-c", "copy", "-bsf:v", kind.before_sending, "-f", form, "-")
        pieces: list[list[bytes]] = []
        for nal in split_annex_b(annex_b):
            if (nal[0] & 0x1F == 9) if form == "h264" else (nal[0] >> 1 == 35):
                pieces.append([])
            pieces[-1].append(nal)
        yield from ((time, nals) for (time, _), nals in zip(coded, pieces, strict=True))
    elif kind.codec is Codec.AV1:
        yield from ((time, split_obus(data)) for time, data in coded)
    else:
        yield from ((time, [data]) for time, data in coded)


def sent_in_small_packets(stream: Stream) -> list[Packet]:
    """The same H.264 as another sender might: NAL units aggregated and cut small."""
    return list(packetise(((time & 0xFFFFFFFF, nals) for time, nals in stream.units), size=300))
