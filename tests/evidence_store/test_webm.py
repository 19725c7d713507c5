from __future__ import annotations

import io
from random import Random

import av
import pytest

from evidence_store import webm
from evidence_store.errors import InvalidInput
from recorder.boxes import Sample, fragment, initialisation
from recorder.vpx_setup import vp08

INIT = initialisation(vp08(0, 640, 360), 90_000)
FRAMES = [bytes((at % 30 != 0,)) + bytes((at,)) * (at * 37 % 900 + 9) for at in range(150)]


def _media(first: int, count: int) -> bytes:
    samples = [Sample(FRAMES[at], 3000, at % 30 == 0) for at in range(first, first + count)]
    return fragment(first + 1, 45_000 + first * 3000, samples)


MESSAGES = [INIT, *(_media(at, 15) for at in range(0, 150, 15))]


def _packets(data: bytes) -> list[tuple[int, bool, bytes]]:
    with av.open(io.BytesIO(data), "r") as film:
        (stream,) = film.streams
        assert (stream.codec_context.name, stream.width, stream.height) == ("vp8", 640, 360)  # type: ignore[attr-defined]
        return [(packet.pts or 0, packet.is_keyframe, bytes(packet)) for packet in film.demux() if packet.size]


EXPECTED = [(500 + round(at * 100 / 3), at % 30 == 0, data) for at, data in enumerate(FRAMES)]


def test_every_frame_is_there_byte_for_byte_and_at_its_time() -> None:
    film = webm.WebmFile(lambda: iter(MESSAGES))
    data = b"".join(film.chunks())
    assert _packets(data) == EXPECTED
    assert b"".join(film.chunks()) == data, "the same again: it is measured before it is given out"


def test_it_can_be_sought_in() -> None:
    data = b"".join(webm.WebmFile(lambda: iter(MESSAGES)).chunks())
    with av.open(io.BytesIO(data), "r") as film:
        assert film.duration == pytest.approx(5_466_000, abs=2000)
        film.seek(3_700_000)
        packet = next(film.demux())
        assert (packet.pts, packet.is_keyframe) == (3500, True)


def test_as_a_browser_gets_it() -> None:
    picture = webm.read_init(INIT)
    clusters = [webm.cluster(frames) for each in MESSAGES[1:] for frames in webm.read_media(each, picture.timescale)]
    assert _packets(webm.beginning(picture) + b"".join(clusters)) == EXPECTED
    joined = b"".join(map(webm.cluster, webm.read_media(b"".join(MESSAGES[1:]), picture.timescale)))
    assert joined == b"".join(clusters)
    assert all(map(webm.is_webm, (webm.beginning(picture), joined)))
    assert not any(map(webm.is_webm, MESSAGES))


def test_what_is_none_is_refused() -> None:
    random = Random(1)  # noqa: S311
    for bad in (b"", INIT[:-1], MESSAGES[1], INIT.replace(b"vp08", b"avc1")):
        with pytest.raises(InvalidInput):
            webm.read_init(bad)
    for bad in (MESSAGES[1][:-1], INIT, MESSAGES[1] + b"\0", MESSAGES[1].replace(b"trun", b"free")):
        with pytest.raises(InvalidInput):
            list(webm.read_media(bad, 90_000))
    for _ in range(2000):
        altered = bytearray(MESSAGES[1])
        altered[random.randrange(200)] = random.randrange(256)
        try:
            for frames in webm.read_media(bytes(altered), 90_000):
                webm.cluster(frames)
        except InvalidInput:
            continue
    with pytest.raises(InvalidInput):
        webm.WebmFile(lambda: iter(()))
