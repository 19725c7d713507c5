"""A take sealed, checked without a key, opened with one, and attacked (facts: integrity, attacks 1 to 7, 34)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evidence_store.canonical import canonical, parse
from evidence_store.errors import ChainBroken, CiphertextInvalid, SignatureInvalid, Tampered
from evidence_store.sealing import check, journal, segment
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.tick import open_message, place_of

from .conftest import ENROLMENT, INTERVIEW, House, SealedTake, seal_take


def walked(take: SealedTake, files: list[bytes] | None = None) -> check.Chain:
    chain = check.Chain(check.check_start(take.start, take.house.root))
    for data in take.segments if files is None else files:
        chain.check_segment(data)
    return chain


def close_of(take: SealedTake, chain: check.Chain) -> check.Close:
    return check.check_close(take.close, take.house.device, take.house.device_ml_dsa, chain)


def test_whole_take_checks_without_a_key(take: SealedTake) -> None:
    chain = walked(take)
    assert (chain.index, chain.tick) == (2, 11)
    assert close_of(take, chain).how is journal.Ending.STOPPED


def test_interview_key_opens_every_message(take: SealedTake) -> None:
    start = check.check_start(take.start, take.house.root)
    secret = take.house.interview_key.unwrap(start.wrap, take_wrap_info(ENROLMENT, take.number, INTERVIEW))
    assert secret == take.secret
    ratchet, chain, clear = Ratchet(start.start_hash, bytearray(secret)), check.Chain(start), []
    for data in take.segments:
        header, ticks = chain.check_segment(data)
        keys = ratchet.keys_of(header.index)
        for tick in ticks:
            for entry, ciphertext in tick.parts():
                clear.append(open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext))
    assert clear == take.clear


def test_wrap_of_another_take_does_not_open(take: SealedTake) -> None:
    start = check.check_start(take.start, take.house.root)
    with pytest.raises(CiphertextInvalid):
        take.house.interview_key.unwrap(start.wrap, take_wrap_info(ENROLMENT, take.number + 1, INTERVIEW))


def test_a_key_of_a_later_segment_opens_nothing_before(take: SealedTake) -> None:
    start = check.check_start(take.start, take.house.root)
    ratchet = Ratchet(start.start_hash, bytearray(take.secret))
    late = ratchet.keys_of(2)
    _, ticks = check.Chain(start).check_segment(take.segments[0])
    entry, ciphertext = next(ticks[0].parts())
    with pytest.raises(CiphertextInvalid):
        open_message(late, place_of(start.start_hash, ticks[0].record, entry), entry, ciphertext)
    with pytest.raises(ValueError, match="does not turn back"):
        ratchet.keys_of(0)


def test_forgotten_keys_are_overwritten(take: SealedTake) -> None:
    secret = bytearray(take.secret)
    ratchet = Ratchet(bytes(32), secret)
    keys = ratchet.next_segment()
    assert bytes(secret) != take.secret
    keys.forget()
    ratchet.forget()
    assert bytes(keys.encryption) == bytes(keys.salting) == bytes(secret) == bytes(32)


@pytest.mark.parametrize("at", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_one_flipped_bit_anywhere_in_a_segment(take: SealedTake, at: float) -> None:
    data = bytearray(take.segments[1])
    data[int(at * len(data))] ^= 1
    chain = walked(take, take.segments[:1])
    with pytest.raises(Tampered):
        chain.check_segment(bytes(data))
    assert chain.index == 0, "a refusal moves nothing"


def swap_ticks(take: SealedTake) -> list[bytes]:
    data = take.segments[1]
    _, at = segment.read_header(data)
    first, second, *rest = segment.ticks(data, at)
    pieces = [data[each.offset : each.offset + each.size] for each in (second, first, *rest)]
    return [take.segments[0], data[:at] + b"".join(pieces), take.segments[2]]


@pytest.mark.parametrize(
    ("defect", "code"),
    [
        (lambda take: [take.segments[0], take.segments[2]], "segment-missing"),
        (lambda take: [take.segments[1]], "segment-missing"),
        (lambda take: [take.segments[0], take.segments[1][:-1]], "tick-torn"),
        (lambda take: [take.segments[0], take.segments[1] + b"x"], "tick-torn"),
        (lambda take: [take.segments[0] + take.segments[1]], "tick-form"),
        (swap_ticks, "tick-order"),
        (lambda take: seal_take(take.house, 2).segments, "segment-swapped"),
    ],
    ids=[
        "middle_segment_missing", "first_segment_missing", "segment_missing_last_byte", "segment_with_appended_byte",
        "two_segments_in_one", "ticks_swapped", "segments_of_another_take",
    ],
)  # fmt: skip
def test_attacks_on_segments(take: SealedTake, defect: Callable[[SealedTake], list[bytes]], code: str) -> None:
    with pytest.raises(ChainBroken) as caught:
        walked(take, defect(take))
    assert caught.value.code == code


def test_last_segment_dropped_contradicts_the_close(take: SealedTake) -> None:
    with pytest.raises(ChainBroken, match="disagree"):
        close_of(take, walked(take, take.segments[:-1]))


def test_dropped_ticks_contradict_the_close(take: SealedTake) -> None:
    data = take.segments[2]
    _, at = segment.read_header(data)
    last = list(segment.ticks(data, at))[-1]
    chain = walked(take, [*take.segments[:2], data[: last.offset]])
    with pytest.raises(ChainBroken, match="disagree"):
        close_of(take, chain)


def test_close_without_the_take_keys_signature(take: SealedTake) -> None:
    record, signatures = journal.decode_envelope(take.close)
    del signatures["take"]
    with pytest.raises(SignatureInvalid, match="not signed by take"):
        check.check_close(
            journal.encode_envelope(record, signatures), take.house.device, take.house.device_ml_dsa, walked(take)
        )


@pytest.mark.parametrize("signature", ["take", "device", "device_ml_dsa_65"])
def test_start_with_one_signature_of_another_start(take: SealedTake, signature: str) -> None:
    record, signatures = journal.decode_envelope(take.start)
    _, others = journal.decode_envelope(seal_take(take.house, 2, 1, 1).start)
    signatures[signature] = others[signature]
    with pytest.raises(SignatureInvalid):
        check.check_start(journal.encode_envelope(record, signatures), take.house.root)


def test_start_with_a_replaced_wrap(take: SealedTake) -> None:
    envelope = parse(take.start)
    envelope["record"]["wrap"] = parse(seal_take(take.house, 2, 1, 1).start)["record"]["wrap"]
    with pytest.raises(SignatureInvalid):
        check.check_start(canonical(envelope), take.house.root)


def test_start_from_another_house(take: SealedTake) -> None:
    with pytest.raises(SignatureInvalid):
        check.check_start(take.start, House().root)


@pytest.mark.parametrize("cut", [1, 100, 3_500, 6_900])
def test_durable_prefix_ends_after_the_last_whole_tick(take: SealedTake, cut: int) -> None:
    chain = walked(take, take.segments[:1])
    data = take.segments[1][:-cut]
    whole = chain.durable_prefix(data)
    _, at = segment.read_header(take.segments[1])
    ends = [tick.offset + tick.size for tick in segment.ticks(take.segments[1], at)]
    assert whole == max([end for end in ends if end <= len(data)], default=0)
    chain.check_segment(data[:whole])


def test_durable_prefix_of_what_is_no_segment(take: SealedTake) -> None:
    assert walked(take, take.segments[:1]).durable_prefix(b"\x00" * 5000) == 0
