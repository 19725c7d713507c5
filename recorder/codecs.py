"""What belongs to each codec: what puts its packets together, what a decoder is told, where a key frame begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import h264, vp8
from .boxes import opus
from .decoder_setup import LatestHeader, Setup, Setups
from .depacketise import Depacketiser
from .fragments import Codec
from .h264_setup import ParameterSets
from .opus import OpusDepacketiser
from .vpx_setup import read_vp8


class _Sound:
    """RFC 7587, 7: Opus is always announced as two channels; each packet says for itself what it has."""

    def see(self, sets: Iterable[bytes]) -> int:
        return 0

    def setup(self) -> Setup | None:
        return opus(2)


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
    Codec.VP8: Way(vp8.Vp8Depacketiser, lambda: LatestHeader(read_vp8), vp8.begins_key_frame),
    Codec.OPUS: Way(OpusDepacketiser, _Sound, _everywhere),
}
