"""Datagrams in at real sockets: how often they are read, and who is heard."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from recorder.datagrams import (
    READ_AT_LEISURE_S,
    READ_LIVE_S,
    SLOTS,
    DatagramReader,
    Slots,
    open_socket,
)

from .rig import taken


class Heard:
    """What a reader gave of one socket: one list for each reading."""

    def __init__(self, reader: DatagramReader, sock: socket.socket) -> None:
        self.readings: list[list[bytes]] = []
        self.raises = False
        reader.add(sock, self._take)

    def _take(self, slots: Slots, count: int) -> None:
        self.readings.append(taken(slots, count))
        if self.raises:
            raise RuntimeError("not mine")

    @property
    def all(self) -> list[bytes]:
        return [each for reading in self.readings for each in reading]


@dataclass(frozen=True)
class Wire:
    """A socket that a reader listens to, and one to send to it from."""

    reader: DatagramReader
    heard: Heard
    sender: socket.socket
    receiver: socket.socket

    def send(self, data: bytes) -> None:
        self.sender.sendto(data, self.receiver.getsockname())


@pytest.fixture
async def wire(sockets: tuple[socket.socket, socket.socket]) -> AsyncIterator[Wire]:
    sender, receiver = sockets
    reader = DatagramReader(asyncio.get_running_loop())
    yield Wire(reader, Heard(reader, receiver), sender, receiver)
    reader.remove(receiver.fileno())


async def test_at_leisure_what_comes_is_read_together_and_in_a_hurry_as_it_comes(wire: Wire) -> None:
    reader, heard = wire.reader, wire.heard
    for every_s in (READ_AT_LEISURE_S, READ_LIVE_S):
        reader.pace("test", every_s)
        await asyncio.sleep(0.2)
        before, began = len(heard.readings), time.monotonic()
        for n in range(30):
            wire.send(bytes([n]))
            await asyncio.sleep(0.01)
        await asyncio.sleep(READ_AT_LEISURE_S)
        assert heard.all[-30:] == [bytes([n]) for n in range(30)]
        readings = len(heard.readings) - before
        if every_s == READ_AT_LEISURE_S:
            assert readings <= (time.monotonic() - began) / READ_AT_LEISURE_S + 1
        else:
            assert readings > 15


async def test_who_comes_to_be_in_a_hurry_does_not_wait_for_the_others_leisure(wire: Wire) -> None:
    reader, heard = wire.reader, wire.heard
    reader.pace("calm", 30.0)
    wire.send(b"first")
    await asyncio.sleep(0.05)
    wire.send(b"second")
    await asyncio.sleep(0.05)
    assert heard.all == [b"first"], "at leisure"
    reader.pace("hurried", 0.01)
    await asyncio.sleep(0.05)
    assert heard.all == [b"first", b"second"]
    reader.pace("hurried", None)
    wire.send(b"third")
    reader.read()
    assert heard.all == [b"first", b"second", b"third"], "at once, for whoever asks"


async def test_a_taker_that_raises_loses_its_own_datagrams_and_nobody_elses(wire: Wire) -> None:
    wire.heard.raises = True
    with open_socket("127.0.0.1", None) as other:
        good = Heard(wire.reader, other)
        for sock in (wire.receiver, other, wire.receiver, other):
            wire.sender.sendto(b"x", sock.getsockname())
            await asyncio.sleep(0.05)
        assert len(wire.heard.all) == len(good.all) == 2
        wire.reader.remove(other.fileno())
    wire.heard.raises = False
    wire.send(b"y")
    await asyncio.sleep(0.05)
    assert wire.heard.all[-1] == b"y"


async def test_a_socket_that_always_has_more_leaves_the_others_their_turn(wire: Wire) -> None:
    reader, heard = wire.reader, wire.heard
    reader.pace("test", 5.0)
    for n in range(600):
        wire.send(n.to_bytes(2, "big"))
    reader.read()
    assert len(heard.all) == 8 * SLOTS, "and the rest at the next reading"
    reader.read()
    assert heard.all == [n.to_bytes(2, "big") for n in range(600)]


def test_a_datagram_says_how_long_it_has_waited(sockets: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = sockets
    slots, began = Slots(), time.monotonic_ns()
    sender.sendto(b"first", receiver.getsockname())
    time.sleep(0.05)
    sender.sendto(b"second", receiver.getsockname())
    assert slots.receive(receiver.fileno()) == 2
    first, second = slots.waited_ns(0), slots.waited_ns(1)
    assert 50_000_000 <= first - second <= first < time.monotonic_ns() - began
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        sender.sendto(b"x", plain.getsockname())
        assert slots.receive(plain.fileno()) == 1
        assert slots.waited_ns(0) == 0, "a socket that stamps nothing"


def test_of_what_was_let_wait_the_first_of_each_payload_type_has_its_own_time() -> None:
    slots, waited_ms = Slots(), (95, 90, 60, 30, 10)
    vars(slots)["waited_ns"] = lambda index: waited_ms[index] * 1_000_000
    packets, now_ns = [b"\x80\x60", b"\x80\x60", b"\x80\xef", b"\x80\xe0"], 10**12
    assert [*slots.by_arrival(packets, [4, 4, 4, 4], now_ns)] == [(packets, now_ns)]
    # Between its slots lay what is no RTP.
    assert [*slots.by_arrival(packets, [0, 1, 3, 4], now_ns)] == [
        ([packets[0]], now_ns - 95_000_000),
        ([packets[1]], now_ns),
        ([packets[2]], now_ns - 30_000_000),
        ([packets[3]], now_ns),
    ]
