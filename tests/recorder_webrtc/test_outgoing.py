"""What leaves together: bursts laid out once, datagrams that arrive as they were."""

from __future__ import annotations

import errno
import socket
from itertools import accumulate
from typing import Any

import pytest

from recorder.datagrams import LARGEST, Slots
from recorder.outgoing import Burst, Outgoing, Segments, runs

from .rig import taken


def begins(sizes: list[int]) -> list[int]:
    return list(accumulate(sizes, initial=0))


@pytest.mark.parametrize(
    ("sizes", "end"),
    [
        ([5], 1), ([5, 5], 2), ([5, 5, 3], 3), ([5, 3, 5], 2), ([5, 6], 1), ([5, 5, 6], 2), ([5, 5, 3, 5], 3),
        ([5, 4, 3], 2), ([3, 5, 5], 1), ([5, 5, 6, 5], 2), ([5, 6, 5, 5], 1),
    ],
    ids=str,
)  # fmt: skip
def test_what_leaves_in_one_call_is_of_one_size_but_for_a_shorter_end(sizes: list[int], end: int) -> None:
    assert runs(begins(sizes))[0].packets == end


def laid_out(sizes: list[int]) -> tuple[Outgoing, list[bytes]]:
    outgoing, at = Outgoing(), 0
    sent = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    for each in sent:
        outgoing.octets[at : at + len(each)] = each
        at += len(each)
    return outgoing, sent


SIZES = [1200] * 40 + [700, 90, 1200, 1201, 1200, 3] + [LARGEST] * 2


def test_each_datagram_arrives_as_it_was(sockets: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = sockets
    outgoing, sent = laid_out(SIZES)
    assert Segments(sender).send(outgoing, runs(begins(SIZES)), receiver.getsockname()) == len(SIZES)
    slots = Slots()
    assert taken(slots, slots.receive(receiver.fileno())) == sent


class NoSegments:
    """A socket whose kernel, card or way cannot cut (stand-in: ours can). `full`: it takes nothing more."""

    def __init__(self, sock: socket.socket, full_after: int = 1000) -> None:
        self._sock, self._left = sock, full_after

    def sendmsg(self, *_: Any) -> int:
        raise OSError(errno.EIO, "no checksums in hardware")

    def sendto(self, data: memoryview, to: Any) -> int:
        if not self._left:
            raise BlockingIOError(errno.EAGAIN, "full")
        self._left -= 1
        return self._sock.sendto(data, to)


@pytest.mark.parametrize("full_after", [1000, 7])
def test_where_they_cannot_leave_together_they_leave_one_by_one(
    sockets: tuple[socket.socket, socket.socket], full_after: int
) -> None:
    sender, receiver = sockets
    outgoing, sent = laid_out(SIZES)
    segments = Segments(NoSegments(sender, full_after))  # type: ignore[arg-type]
    expected = sent[:full_after]
    assert segments.send(outgoing, runs(begins(SIZES)), receiver.getsockname()) == len(expected)
    slots = Slots()
    assert taken(slots, slots.receive(receiver.fileno())) == expected


def test_a_burst_is_laid_out_once_with_room_for_what_protecting_adds() -> None:
    burst = Burst([b"a" * 100, b"b" * 100, b"c" * 40])
    layout = burst.layout(16)
    assert layout is burst.layout(16)
    assert layout is not burst.layout(10)
    assert layout.places == [(0, 112), (128, 112), (256, 52)]
    assert layout.octets == 128 + 128 + 68
    assert [(run.begin, run.end, run.size, run.packets) for run in layout.runs] == [(0, 324, 128, 3)]
    assert burst.octets == 240


def test_no_call_is_larger_than_udp_allows() -> None:
    many = runs(begins([1200] * 64))
    assert [run.packets for run in many] == [50, 14]
    assert all(run.end - run.begin <= 65_507 for run in many)
