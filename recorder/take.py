"""What the recorder is doing, as one table; and what an order to record says.

Decides only. Recording, sealing and closing are done by node, ticker and sealer.
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass

from evidence_store.canonical import canonical, parse
from evidence_store.errors import Conflict, InvalidInput
from evidence_store.sealing.keys import PUBLIC_SIZE


class State(enum.StrEnum):
    IDLE = "idle"
    """Cameras may be connected; nothing is kept but the pre-roll in memory."""
    STARTING = "starting"
    """The number is being made durable and the start record signed."""
    RECORDING = "recording"
    STOPPING = "stopping"
    """The last pictures are waited for, for 0.1 s; what waits is sealed and the close is signed."""


class Event(enum.StrEnum):
    START = "start"
    STARTED = "started"
    FAILED = "failed"
    STOP = "stop"
    CLOSED = "closed"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.START): State.STARTING,
    (State.STARTING, Event.STARTED): State.RECORDING,
    (State.STARTING, Event.FAILED): State.IDLE,
    (State.RECORDING, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.CLOSED): State.IDLE,
}


def following(state: State, event: Event) -> State:
    """The next state. Raises Conflict for what the table does not hold; the caller's state is then unchanged."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"{event} is not possible while {state}", code=f"room-{state}") from None


@dataclass(frozen=True, slots=True)
class Order:
    """What to record: an interview and the public key it is sealed to, as signed by the store.

    `interview`: 16 bytes. `checkpoint`: the ledger's latest, text, or None. The case number is not here: the recorder
    never learns it.
    """

    interview: bytes
    public_key: bytes
    key_signature: bytes
    store_certificate: bytes
    checkpoint: str | None

    def encode(self) -> bytes:
        return canonical(
            {
                "checkpoint": self.checkpoint,
                "interview": self.interview.hex(),
                "key_signature": _b64(self.key_signature),
                "public_key": _b64(self.public_key),
                "store_certificate": _b64(self.store_certificate),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Order:
        """Raises InvalidInput."""
        record = parse(data)
        try:
            order = cls(
                interview=bytes.fromhex(record["interview"]),
                public_key=base64.b64decode(record["public_key"], validate=True),
                key_signature=base64.b64decode(record["key_signature"], validate=True),
                store_certificate=base64.b64decode(record["store_certificate"], validate=True),
                checkpoint=record["checkpoint"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not an order to record", code="order-form") from error
        if len(order.interview) != 16 or len(order.public_key) != PUBLIC_SIZE:
            raise InvalidInput("not an order to record", code="order-form")
        if order.checkpoint is not None and not isinstance(order.checkpoint, str):
            raise InvalidInput("not an order to record", code="order-form")
        return order


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
