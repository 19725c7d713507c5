"""A copy is made, opened with plain age and tar, and is what was recorded."""

from __future__ import annotations

import array
import io
import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import bagit
import imageio_ffmpeg
import pytest

from evidence_store.copies.package import prepare
from evidence_store.copies.source import CopySource
from evidence_store.copies.verify import Anchors, verify
from evidence_store.errors import ChainBroken, InvalidInput, Tampered
from evidence_store.sealing.keys import PrivateKey
from tests.recorder_media.clips import packets
from tests.recorder_media.streams import make_stream

from .conftest import CASE, WIDE, Made, Script, Store, clear_track, source_of, whole_interview
from .films import recorded


@pytest.mark.parametrize(("take", "track", "name"), [
    (0, 0, "take-001-wide-video-0"), (0, 1, "take-001-close-video-0"), (0, 2, "take-001-wide-audio-0"),
    (1, 2, "take-002-wide-audio-0"),
])  # fmt: skip
def test_originals_are_byte_for_byte_what_was_sealed(made: Made, take: int, track: int, name: str) -> None:
    original = (made.bag / "data/original" / f"{name}.mp4").read_bytes()
    assert original == clear_track(made.source, take, track)


def test_bagit_agrees(made: Made) -> None:
    bagit.Bag(str(made.bag)).validate()


def peak_of(frame: av.AudioFrame) -> float:
    return max(map(abs, array.array("f", bytes(frame.planes[0]))))


def test_viewing_copy_plays_anywhere(made: Made) -> None:
    with av.open(str(made.bag / "data/viewing/visningskopi.mp4")) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height) == (1280, 720)
        frames = [float(frame.time or 0) for frame in film.decode(video)]
    # 5 s and 2 s of takes with a card of 3 s between; fragments may be a frame longer.
    assert 10.0 <= frames[-1] - frames[0] <= 10.6
    # The first picture stands for AAC's priming too (21 ms); the rest are even, across takes and cards.
    assert all(b - a == pytest.approx(1 / 30, abs=0.002) for a, b in itertools.pairwise(frames[1:]))
    with av.open(str(made.bag / "data/viewing/visningskopi.mp4")) as film:
        samples = [
            (float(frame.time or 0), max(map(abs, array.array("f", bytes(frame.planes[0])))))
            for frame in film.decode(audio=0)
        ]
    loud = [time for time, peak in samples if peak > 0.01]
    assert loud[0] < 0.1, "the first take's sound"
    assert not [time for time in loud if 5.4 < time < 8.0], "the card is silent"
    assert [time for time in loud if time > 8.5], "the take of sound alone is heard"


def test_viewing_copy_says_that_it_is_derived(made: Made) -> None:
    note = json.loads((made.bag / "data/viewing/visningskopi.json").read_text())
    assert note["derived"] is True
    assert {each["path"] for each in note["sources"]} == {
        path.relative_to(made.bag).as_posix() for path in (made.bag / "data/original").iterdir()
    }
    assert note["takes"][0]["first"] == "2026-11-18T11:06:40.000000000Z"
    assert note["takes"][0]["holes"]["close-video"] == [[pytest.approx(2, abs=0.3), pytest.approx(3, abs=0.3)]]
    assert any("drawtext" in word for command in note["commands"] for word in command)


def test_no_case_number_in_any_name(made: Made) -> None:
    assert not [path for path in made.bag.rglob("*") if CASE in path.name or "83986" in path.name]
    assert json.loads((made.bag / "evidence/copy.json").read_text())["case_number"] == CASE


def test_stream_opens_to_the_same_and_a_reader_may_go_away(made: Made, tmp_path: Path) -> None:
    stages: list[tuple[str, float]] = []
    with prepare(made.source, scratch=tmp_path, progress=lambda stage, at: stages.append((stage, at))) as prepared:
        chunks = prepared.stream()
        assert next(chunks).startswith(b"age-encryption.org/v1\n")
        chunks.close()
        with (tmp_path / "copy.age").open("wb") as out:
            out.writelines(prepared.stream())
    opened = ["age", "-d", "-i", str(made.identity), "-o", str(tmp_path / "copy.tar"), str(tmp_path / "copy.age")]
    subprocess.run(opened, check=True, timeout=30)
    assert (tmp_path / "copy.tar").stat().st_size == made.tar.stat().st_size
    for stage in ("check", "render", "stream"):
        fractions = [at for each, at in stages if each == stage]
        assert fractions
        assert max(fractions) == pytest.approx(1)
    assert {path.name for path in tmp_path.iterdir()} == {"copy.age", "copy.tar"}, "nothing is left behind"


@pytest.mark.parametrize("name", ["vp8", "vp9", "av1", "h265_b_frames"])
def test_any_codec_is_rendered_and_vp8_is_given_once_more_as_webm(
    store: Store, recipient: tuple[str, Path], tmp_path: Path, name: str
) -> None:
    stream = make_stream(name, tmp_path, 2)
    source = source_of(store, [Script(1, {0: recorded(stream)}, [WIDE])], recipient[0])
    with prepare(source, scratch=tmp_path) as prepared:
        assert prepared.viewing_failure is None
        out = io.BytesIO()
        prepared.write(out)
        files = {file.path: file for file in prepared.files}
        bag = tmp_path / "bag"
        for path, file in files.items():
            (bag / path).parent.mkdir(parents=True, exist_ok=True)
            (bag / path).write_bytes(b"".join(file.read()))
    report = verify(bag, Anchors(store.fingerprint), player=imageio_ffmpeg.get_ffmpeg_exe())
    assert report.ok, report
    with av.open(str(bag / "data/viewing/visningskopi.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 55
    once_more = "data/viewing/take-001-wide-video-0.webm"
    assert (once_more in files) == (name == "vp8")
    if name == "vp8":
        note = json.loads((bag / "data/viewing/visningskopi.json").read_text())
        (told,) = note["films"]
        assert (told["path"], told["of"]) == (once_more, "data/original/take-001-wide-video-0.mp4")
        seen = [data for _, _, data in packets((bag / once_more).read_bytes())]
        assert seen == [frame for _, (frame,) in stream.units]


def small(store: Store, recipient: tuple[str, Path]) -> CopySource:
    return source_of(store, whole_interview()[1:2], recipient[0])


def test_flipped_bit_in_the_vault_releases_nothing(store: Store, recipient: tuple[str, Path], tmp_path: Path) -> None:
    source = small(store, recipient)
    take = source.takes[0]
    data = bytearray(take.read_segment(0))
    data[len(data) // 2] ^= 1
    source = replace(source, takes=[replace(take, read_segment=lambda _: bytes(data))])
    with pytest.raises(Tampered, match=r"take-001, segment 0, track wide-audio, second \d+\.\d{3}"):
        prepare(source, scratch=tmp_path)
    assert not list(tmp_path.iterdir())


def test_segment_altered_between_the_passes_ends_the_stream(
    store: Store, recipient: tuple[str, Path], tmp_path: Path
) -> None:
    source = small(store, recipient)
    take = source.takes[0]
    spoilt = [False]

    def read(index: int) -> bytes:
        data = bytearray(take.read_segment(index))
        data[len(data) // 2] ^= spoilt[0]
        return bytes(data)

    with prepare(replace(source, takes=[replace(take, read_segment=read)]), scratch=tmp_path) as prepared:
        spoilt[0] = True
        with (tmp_path / "half.age").open("wb") as out, pytest.raises(Tampered):
            prepared.write(out)
    opened = subprocess.run(
        ["age", "-d", "-i", recipient[1], "-o", "/dev/null", tmp_path / "half.age"], capture_output=True, timeout=30
    )
    assert opened.returncode != 0, "what was cut off does not open"


def test_take_missing_from_the_copy_contradicts_the_manifest(interview: CopySource, tmp_path: Path) -> None:
    with pytest.raises(ChainBroken, match="other takes"):
        prepare(replace(interview, takes=interview.takes[1:2]), scratch=tmp_path)


def test_another_interviews_key_opens_nothing(interview: CopySource, tmp_path: Path) -> None:
    with pytest.raises(Tampered):
        prepare(replace(interview, interview_key=PrivateKey.generate()), scratch=tmp_path)


@pytest.mark.parametrize("key", ["", "age1xx", "ssh-ed25519 AAAA"])
def test_what_is_no_age_key(interview: CopySource, tmp_path: Path, key: str) -> None:
    source = replace(interview, recipient=replace(interview.recipient, age_public_key=key))
    with pytest.raises(InvalidInput, match="age public key"):
        prepare(source, scratch=tmp_path)


def test_media_that_no_player_reads_does_not_keep_the_originals_back(
    store: Store, recipient: tuple[str, Path], tmp_path: Path
) -> None:
    script = whole_interview()[1]
    broken = {2: replace(script.films[2], init=b"\x00\x00\x00\x10ftypnonsense" * 3)}
    source = source_of(store, [Script(2, broken, script.tracks, how=script.how)], recipient[0])
    with prepare(source, scratch=tmp_path) as prepared:
        assert prepared.viewing_failure
        paths = {file.path for file in prepared.files}
    assert "data/original/take-001-wide-audio-0.mp4" in paths
    assert "data/viewing/visningskopi.mp4" not in paths
    assert "data/viewing/visningskopi.json" in paths
