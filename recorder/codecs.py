"""What belongs to each codec: what puts its packets together, what a decoder is told, where a key frame begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import av1, h264, h265, vp8, vp9
from .av1_setup import read_av1
from .boxes import opus
from .decoder_setup import LatestHeader, Setup, Setups
from .depacketise import Depacketiser
from .fragments import Codec
from .h264_setup import ParameterSets
from .h265_setup import H265Sets
from .opus import OpusDepacketiser
from .vpx_setup import read_vp8, read_vp9

_TWO_CHANNELS = opus(2)


class _Sound:
    """RFC 7587, 7: Opus is always announced as two channels; each packet says for itself what it has."""

    def see(self, sets: Iterable[bytes]) -> int:
        return 0

    def setup(self) -> Setup | None:
        return _TWO_CHANNELS


def _everywhere(payload: bytes) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Way:
    """`begins_key_frame(payload)`: whether an RTP payload holds the start of a picture that a decoder can begin at."""

    depacketiser: Callable[[], Depacketiser]
    setups: Callable[[], Setups]
    begins_key_frame: Callable[[bytes], bool]


WAYS: Mapping[Codec, Way] = {
    Codec.H264: Way(h264.H264Depacketiser, ParameterSets, h264.begins_key_frame),
    Codec.VP9: Way(vp9.Vp9Depacketiser, lambda: LatestHeader(read_vp9), vp9.begins_key_frame),
    Codec.AV1: Way(av1.Av1Depacketiser, lambda: LatestHeader(read_av1), av1.begins_key_frame),
    Codec.H265: Way(h265.H265Depacketiser, H265Sets, h265.begins_key_frame),
    Codec.VP8: Way(vp8.Vp8Depacketiser, lambda: LatestHeader(read_vp8), vp8.begins_key_frame),
    Codec.OPUS: Way(OpusDepacketiser, _Sound, _everywhere),
}
