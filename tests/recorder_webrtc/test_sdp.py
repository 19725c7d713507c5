"""Offers read strictly, made whole, and answered in the client's own terms."""

from __future__ import annotations

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from evidence_store.errors import InvalidInput
from recorder.sdp import answer, canonical, parse_offer

TRANSPORT = """a=ice-ufrag:EsAw
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02
a=setup:actpass
a=rtcp-mux
"""
# In the shape of RFC 9725's own example: the second section is bundle-only and has no transport lines.
BUNDLE_ONLY = f"""v=0
o=- 5228595038118931041 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=ice-options:trickle ice2
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
{TRANSPORT}a=mid:0
a=sendonly
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
m=video 0 UDP/TLS/RTP/SAVPF 96 97 39 40
a=mid:1
a=bundle-only
a=sendonly
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:39 H264/90000
a=fmtp:39 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c2a
a=rtcp-fb:39 nack pli
a=rtcp-fb:39 transport-cc
a=rtpmap:40 rtx/90000
a=fmtp:40 apt=39
"""


async def answered(text: str, hint: str = "") -> str:
    """Through aiortc and back."""
    offer = parse_offer(text.encode())
    chosen = offer.publisher()
    pc = RTCPeerConnection()
    try:
        await pc.setRemoteDescription(RTCSessionDescription(canonical(chosen, "sendonly"), "offer"))
        local = (await pc.createAnswer()).sdp
    finally:
        await pc.close()
    return answer(offer, chosen, local, rtx=True, bitrate_hint=hint)


async def test_bundle_only_section_takes_the_bundles_transport() -> None:
    text = await answered(BUNDLE_ONLY)
    assert "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" in text
    assert "m=video 9 UDP/TLS/RTP/SAVPF 39 40\r\n" in text
    assert "a=fmtp:39 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c2a\r\n" in text
    assert "a=fmtp:40 apt=39\r\n" in text
    assert "a=rtcp-fb:39 nack pli\r\n" in text
    assert "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n" in text, "two microphones must not come as one"
    assert "transport-cc" not in text
    assert "VP8" not in text
    assert text.count("a=recvonly\r\n") == text.count("a=rtcp-mux-only\r\n") == 2


@pytest.mark.parametrize("profile", ["42e01f", "42001f", "4d001f", "640c1f", "64001f", "42c034", "640033"])
async def test_any_profile_is_accepted_and_echoed(profile: str) -> None:
    text = await answered(BUNDLE_ONLY.replace("640c2a", profile))
    assert f"profile-level-id={profile}\r\n" in text


async def test_only_senders_that_heed_remb_are_given_the_bitrate_hint() -> None:
    assert "x-start=1" not in await answered(BUNDLE_ONLY, "x-start=1")
    heeding = BUNDLE_ONLY + "a=rtcp-fb:39 goog-remb\n"
    assert "profile-level-id=640c2a;x-start=1\r\n" in await answered(heeding, "x-start=1")


@pytest.mark.parametrize(
    ("encoding", "fmtp"),
    [
        ("H264/90000", "packetization-mode=2;profile-level-id=42e01f"),
        ("H264/90000", "packetization-mode=1;profile-level-id=f4001f"),
        ("VP9/90000", "profile-id=1"),
        ("AV1/90000", "profile=1"),
        ("H265/90000", "profile-id=4"),
        ("H265/90000", "sprop-max-don-diff=1"),
        ("H263/90000", "x=1"),
        ("VP8/8000", "x=1"),
        ("opus/48000", "x=1"),
    ],
)
def test_what_cannot_be_recorded_is_refused(encoding: str, fmtp: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_offer(pictures((96, encoding, fmtp)).encode()).publisher()
    assert refused.value.code == "codec-unsupported"


def pictures(*formats: tuple[int, str, str]) -> str:
    """An offer of sound, and a picture in these formats, each with its retransmission one number above."""
    head, _, _ = BUNDLE_ONLY.partition("m=video")
    numbers = " ".join(f"{number} {number + 1}" for number, _, _ in formats)
    text = head + f"m=video 0 UDP/TLS/RTP/SAVPF {numbers}\na=mid:1\na=bundle-only\na=sendonly\n"
    for number, encoding, fmtp in formats:
        text += f"a=rtpmap:{number} {encoding}\n" + f"a=fmtp:{number} {fmtp}\n" * bool(fmtp)
        text += f"a=rtpmap:{number + 1} rtx/90000\na=fmtp:{number + 1} apt={number}\n"
    return text


VP8 = (96, "VP8/90000", "")
VP9, VP9_10_BIT = (98, "VP9/90000", "profile-id=0"), (100, "VP9/90000", "profile-id=2")
AV1, H265 = (45, "AV1/90000", ""), (49, "H265/90000", "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST")
BASELINE = (39, "H264/90000", "packetization-mode=0;profile-level-id=42001f")
MAIN = (41, "h264/90000", "packetization-mode=1;profile-level-id=4d001f")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param([VP8, VP9, AV1, H265, BASELINE, MAIN], MAIN, id="h264_that_may_fragment"),
        pytest.param([VP8, VP9, BASELINE], BASELINE, id="h264_that_may_not"),
        pytest.param([VP8, VP9_10_BIT, VP9, AV1], VP9_10_BIT, id="the_clients_first_of_one_codec"),
        pytest.param([VP8, AV1, VP9], VP9, id="vp9"),
        pytest.param([VP8, H265, AV1], AV1, id="av1"),
        pytest.param([H265, VP8], VP8, id="vp8"),
        pytest.param([H265], H265, id="h265"),
    ],
)
async def test_the_codec_that_ranks_best_is_answered_with_its_own_retransmission(
    offered: list[tuple[int, str, str]], chosen: tuple[int, str, str]
) -> None:
    number, encoding, fmtp = chosen
    text = await answered(pictures(*offered))
    assert f"m=video 9 UDP/TLS/RTP/SAVPF {number} {number + 1}\r\n" in text
    assert f"a=rtpmap:{number} {encoding.replace('h264', 'H264')}\r\n" in text
    assert f"a=fmtp:{number + 1} apt={number}\r\n" in text
    assert (f"a=fmtp:{number} {fmtp}\r\n" in text) == bool(fmtp)


@pytest.mark.parametrize(
    ("sent", "offered", "chosen"),
    [
        pytest.param(VP8, [MAIN, VP9, VP8], VP8, id="vp8"),
        pytest.param(AV1, [MAIN, VP9, AV1], AV1, id="av1"),
        pytest.param(VP9_10_BIT, [VP9, VP9_10_BIT], VP9_10_BIT, id="vp9_of_that_depth"),
        pytest.param(VP9_10_BIT, [VP9, VP8], None, id="vp9_of_another_depth"),
        pytest.param(BASELINE, [BASELINE, MAIN], MAIN, id="fragments_before_profile"),
        pytest.param(MAIN, [VP8, VP9, AV1], None, id="firefox_without_h264"),
        pytest.param(H265, [VP8, VP9, AV1, MAIN], None, id="no_h265"),
    ],
)
def test_a_viewer_is_sent_what_the_camera_sends_or_refused(
    sent: tuple[int, str, str], offered: list[tuple[int, str, str]], chosen: tuple[int, str, str] | None
) -> None:
    camera = {choice.codec.kind: choice.codec for choice in parse_offer(pictures(sent).encode()).publisher()}
    offer = parse_offer(pictures(*offered).replace("sendonly", "recvonly").encode())
    if chosen is None:
        with pytest.raises(InvalidInput, match="Chrome or Edge") as refused:
            offer.viewer(camera)
        assert refused.value.code == "codec-unsupported"
    else:
        assert [choice.codec.payload_type for choice in offer.viewer(camera)] == [111, chosen[0]]


def test_parameter_sets_told_beforehand_are_read() -> None:
    told = "packetization-mode=1;profile-level-id=42e01f;sprop-parameter-sets=Z0LAHtkA,aMuDyyA="
    (_, video) = parse_offer(pictures((96, "H264/90000", told)).encode()).publisher()
    assert video.codec.parameter_sets == (bytes.fromhex("6742c01ed900"), bytes.fromhex("68cb83cb20"))
    (_, video) = parse_offer(pictures((96, "H264/90000", told.replace("Z0L", "?"))).encode()).publisher()
    assert video.codec.parameter_sets == (bytes.fromhex("68cb83cb20"),)


async def test_a_data_channel_is_refused_in_its_place() -> None:
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\nc=IN IP4 0.0.0.0\na=mid:d\na=sctp-port:5000\n"
    offer = BUNDLE_ONLY.replace("BUNDLE 0 1", "BUNDLE 0 d 1").replace("m=video", data + "m=video")
    text = await answered(offer)
    assert (
        text.index("m=audio 9")
        < text.index("m=application 0 UDP/DTLS/SCTP webrtc-datachannel")
        < text.index("m=video 9")
    )
    assert "a=group:BUNDLE 0 1\r\n" in text


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("v=0\n", "v=1\n", "sdp-malformed"),
        ("s=-\n", "s=-\nnonsense\n", "sdp-malformed"),
        ("m=audio 9 UDP", "m=audio x UDP", "sdp-malformed"),
        ("a=ice-ufrag:EsAw\n", "", "sdp-malformed"),
        ("a=ice-ufrag:EsAw\n", "a=ice-ufrag:E s\n", "sdp-malformed"),
        ("a=setup:actpass\n", "", "sdp-malformed"),
        ("a=setup:actpass\n", "a=setup:maybe\n", "sdp-malformed"),
        ("a=rtcp-mux\n", "", "sdp-malformed"),
        ("sha-256 DA", "sha-1 DA", "sdp-malformed"),
        ("sha-256 DA", "sha-256 ZZ", "sdp-malformed"),
        ("a=mid:1\n", "a=mid:0\n", "sdp-malformed"),
        ("a=group:BUNDLE 0 1\n", "", "not-bundled"),
    ],
)
def test_malformed_offers_are_refused(old: str, new: str, code: str) -> None:
    assert old in BUNDLE_ONLY
    with pytest.raises(InvalidInput) as refused:
        parse_offer(BUNDLE_ONLY.replace(old, new).encode())
    assert refused.value.code == code


def test_unusable_candidates_are_skipped() -> None:
    lines = [
        "1 1 udp 2113937151 7d9e4f8c-1b2a.local 54400 typ host",
        "2 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "3 2 udp 2113937151 192.0.2.7 54401 typ host",
        "4 1 udp 2113937151 192.0.2.7 54402 typ host generation 0",
    ]
    offer = parse_offer((BUNDLE_ONLY + "".join(f"a=candidate:{line}\n" for line in lines)).encode())
    assert offer.publisher()[1].section.candidates == (lines[3],)


def test_a_viewer_is_sent_the_nearest_profile() -> None:
    camera = {choice.codec.kind: choice.codec for choice in parse_offer(BUNDLE_ONLY.encode()).publisher()}
    other = "a=rtpmap:50 H264/90000\na=fmtp:50 packetization-mode=1;profile-level-id=42e01f\n"
    offer = BUNDLE_ONLY.replace("sendonly", "recvonly").replace("96 97 39 40", "50 96 97 39 40") + other
    chosen = parse_offer(offer.encode()).viewer(camera)
    assert [choice.codec.payload_type for choice in chosen] == [111, 39]
    assert [choice.codec.kind for choice in parse_offer(offer.encode()).viewer({"video": camera["video"]})] == ["video"]
